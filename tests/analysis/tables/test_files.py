"""The one reader of tables: what is read is what the file says, or one line says why not."""

import gzip
import hashlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.commands.app import app
from analysis.tables.errors import RunTableError
from analysis.tables.files import read_file

HEADER = "run,params,tokens,val_loss"
ROWS = ["a,1e8,2e9,3.2", "b,2e8,4e9,3.0", "c,4e8,8e9,2.9"]
PLAIN = "\n".join([HEADER, *ROWS, ""])
OBJECTS = '{"params": 1e8, "val_loss": 3.2}\n{"params": 2e8, "val_loss": NaN}\n'


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str | bytes, name: str = "runs.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def as_parquet() -> bytes:
    buffer = io.BytesIO()
    pd.read_csv(io.StringIO(PLAIN)).to_parquet(buffer)
    return buffer.getvalue()


Write = Callable[..., Path]


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.rstrip("\n"),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        "\n\n" + PLAIN.replace("\n", "\n\n"),
        PLAIN.replace("params,tokens", " params , tokens"),
        PLAIN.replace("params", '"params"'),
    ],
    ids=["plain", "CRLF", "CR", "no last end", "BOM", "blank lines", "spaces", "quotes"],
)
def test_one_table_however_its_lines_are_written(content: str | bytes, written: Write) -> None:
    frame = read_file(written(content)).frame
    assert list(frame.columns) == HEADER.split(",")
    assert frame.to_numpy().tolist() == [row.split(",") for row in ROWS]


def test_a_quoted_field_keeps_its_commas_and_lines(written: Write) -> None:
    frame = read_file(written('run,params\n"a, ""b""\nc",1\n')).frame
    assert frame.to_numpy().tolist() == [['a, "b"\nc', "1"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PLAIN.replace("3.2", "3.2,9"), "line 2 has 5 fields and the header 4"),
        (PLAIN.replace("3.2", "3.2,"), "line 2 has 5 fields and the header 4"),
        (PLAIN.replace("2.9", "2.9,"), "line 4 has 5 fields"),
        (PLAIN.replace("b,", ""), "line 3 has 3 fields"),
        ('run,params\n"a\nb",1\nc\n', "line 4 has 1 field and the header 2"),
        (PLAIN.replace("3.2", "3,2").replace("b,2e8", "b,2e8"), "line 2 has 5 fields"),
        (PLAIN.replace(",", ";"), "separated by semicolons"),
        (PLAIN.replace(".", ",").replace(",", ";", 3), "separated by semicolons"),
        (PLAIN.replace(",", "\t"), "separated by tabs"),
        (PLAIN.replace(",", "|"), "separated by vertical bars"),
        (PLAIN.replace(",", "  "), "separated by spaces"),
        ("sep=;\n" + PLAIN.replace(",", ";"), "separated by semicolons"),
        ("# exported today, by hand\n" + PLAIN, "line 1 is a comment"),
        (PLAIN.replace("b,", "#b,"), "line 3 is a comment"),
        (PLAIN.replace("tokens", "params"), "columns 2 and 3 are both named 'params'"),
        (PLAIN.replace("tokens", " params"), "columns 2 and 3 are both named 'params'"),
        (PLAIN.replace("3.2", '"3.2'), "line 2: unexpected end"),
        (PLAIN.replace("3.2", '"3.2"1'), "line 2: "),
        (PLAIN.encode("utf-16"), "text in UTF-16"),
        (PLAIN.encode("utf-16-le"), "line 1 has a NUL byte: is it text in UTF-16"),
        (PLAIN.replace("3.0", "3.0\0"), "line 3 has a NUL byte"),
        (PLAIN.replace("b", "é").encode("latin-1"), "line 3 is not UTF-8: byte 0xe9"),
        (gzip.compress(PLAIN.encode(), mtime=0), "compressed by gzip"),
        (b"\x28\xb5\x2f\xfd....", "compressed by zstd"),
        (b"PK\x03\x04....", "zip archive or an Excel workbook"),
        (b"<!DOCTYPE html><html>", "HTML"),
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ('[{"params": 1}]', "one JSON array"),
        ('\n[\n{"params": 1}\n]', "one JSON array"),
        ('{\n"params": 1\n}', "one JSON object"),
        ('{"params": [1, 2], "val_loss": [3, 2]}', "one JSON object of columns"),
        ('{"params": 1}\n{"params": 1, "params": 2}', "line 2: key 'params' occurs twice"),
        ('{"params": 1}\n[2]', "line 2 is not an object"),
        ('{"params": 1}\n{"params": 2', "line 2: "),
        ('{"params": 1, " params": 2}', "columns 1 and 2 are both named 'params'"),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(
    content: str | bytes, words: str, written: Write
) -> None:
    with pytest.raises(RunTableError) as caught:
        read_file(written(content))
    message = str(caught.value)
    assert "runs.csv: cannot be read as " in message and words in message, message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["runs", "runs.csv", "runs.jsonl", "runs.parquet"])
def test_content_says_what_a_file_is(name: str, written: Write) -> None:
    assert list(read_file(written(as_parquet(), name)).frame["params"]) == [1e8, 2e8, 4e8]
    if name != "runs.parquet":
        assert list(read_file(written(OBJECTS, name)).frame["params"]) == [1e8, 2e8]


def test_an_index_of_parquet_is_a_column(tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(PLAIN)).set_index("run")
    frame.to_parquet(tmp_path / "runs.parquet")
    assert set(read_file(tmp_path / "runs.parquet").frame.columns) == set(HEADER.split(","))


def test_only_line_ends_end_a_line_of_json(written: Write) -> None:
    text = '{"run": "first\u2028try\x85\u2029", "params": 1}\r\n{"run": "b", "params": 2}\r'
    frame = read_file(written(text, "runs.jsonl")).frame
    assert list(frame["run"]) == ["first\u2028try\x85\u2029", "b"]


def fit(source: object, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        app, ["fit", str(source), "--law", "compute", "--e", "0", "--bootstrap", "0", *more]
    )
    return done.exit_code, done.output


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "fit.json"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(PLAIN,))
    writer.start()
    code, told = fit(pipe, "--json", str(out), "--also-flops-col", "tokens")
    writer.join()
    assert code == 0, told
    assert hashlib.sha256(PLAIN.encode()).hexdigest() in out.read_text()
    assert "with flops from 'tokens'" in told


def test_standard_input_is_a_dash(tmp_path: Path) -> None:
    out = tmp_path / "fit.json"
    arguments = ["fit", "-", "--law", "compute", "--e", "0", "--bootstrap", "0", "--json", str(out)]
    done = CliRunner().invoke(app, arguments, input=PLAIN)
    assert done.exit_code == 0, done.output
    assert hashlib.sha256(PLAIN.encode()).hexdigest() in out.read_text()
