"""MLflow's stores by their URI: any path has one, and what cannot be opened is named as it is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import make_url

from analysis.tables import tracking
from analysis.tables.tracking import LedgerError

FOLDERS = ("plain", "a b", "研究", "hash#1", "q?x", "pc%20t", "%3F#?%25")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_path_has_a_uri_that_leads_back_to_it(folder: str, tmp_path: Path) -> None:
    path = tmp_path / folder / "mlflow.db"
    uri = tracking.address(path)
    assert tracking.database(uri) == path and tracking.shown(uri) == str(path)
    assert make_url(uri).database == str(path)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////abs/mlflow.db", Path("/abs/mlflow.db")),
        ("sqlite:///rel/mlflow.db", Path.cwd() / "rel" / "mlflow.db"),
        ("sqlite:////abs/mlflow.db?timeout=5", Path("/abs/mlflow.db")),
        ("sqlite:////abs/a%20b/mlflow.db", Path("/abs/a b/mlflow.db")),
        ("http://127.0.0.1:5000", None),
        ("postgresql://u:p@host/base", None),
    ],
)
def test_a_uri_is_read_as_its_database_reads_it(uri: str, path: Path | None) -> None:
    assert tracking.database(uri) == path


def make(path: Path) -> None:
    """Make a store that this process has not opened under its name: MLflow looks only once."""
    made = path.with_name("made.db")
    MlflowClient(f"sqlite:///{made}").search_experiments()
    made.rename(path)


def locked(path: Path) -> sqlite3.Connection:
    """A connection that has locked the database, as another program may."""
    make(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def with_version(path: Path, version: str) -> None:
    """A store of another version of MLflow."""
    make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


def half_made(path: Path) -> None:
    """A store whose maker was killed: it has some of the tables."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER)")


def test_a_store_that_lost_a_table_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """MLflow's client would make it anew, empty: the runs would be without their values."""
    path = tmp_path / "mlflow.db"
    make(path)
    for table in tracking.TABLES:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"ALTER TABLE {table} RENAME TO away")
            before = path.read_bytes()
            message = rf"is not a whole ledger \(no such table: {table}\)"
            with pytest.raises(LedgerError, match=message), tracking.opened(f"sqlite:///{path}"):
                pass
            assert path.read_bytes() == before
            connection.execute(f"ALTER TABLE away RENAME TO {table}")


@pytest.mark.parametrize(
    ("spoil", "found", "cure"),
    [
        (lambda path: path.touch(), "is empty, and no ledger", "move it away"),
        (lambda path: path.write_bytes(b"garbage\n" * 512), "is damaged", "put a copy"),
        (half_made, "is not a whole ledger (no such table", "move it away"),
        (lambda path: path.mkdir(), "is not a file", "move it away"),
        (locked, "is locked by another program", "end it"),
        (lambda path: with_version(path, "0584bdc529eb"), "older MLflow", "mlflow db upgrade"),
        (lambda path: with_version(path, "ffffffffffff"), "newer MLflow", "pip install -U mlflow"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_with_its_cause(
    spoil: Callable[[Path], object],
    found: str,
    cure: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "LOCK_SECONDS", 0.1)
    path = tmp_path / "mlflow.db"
    held = spoil(path)
    with pytest.raises(LedgerError) as caught, tracking.opened(f"sqlite:///{path}"):
        pass
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert found in caught.value.found and cure in caught.value.cure
    del held


@pytest.mark.parametrize(
    ("uri", "found", "cure"),
    [
        ("localhost:5000", "has no scheme", "write http://localhost:5000"),
        ("127.0.0.1:5000/mlflow", "has no scheme", "write http://127.0.0.1:5000/mlflow"),
        ("htp://host:5000", "of no kind that MLflow knows", "write http://HOST:PORT"),
        ("sqlite://rel/mlflow.db", "names no file", "sqlite:////ABSOLUTE/PATH/mlflow.db"),
        ("sqlite:///:memory:", "names no file", "sqlite:////ABSOLUTE/PATH/mlflow.db"),
        ("file:///tmp/mlruns", "a folder of files", "sqlite:////ABSOLUTE/PATH/mlflow.db"),
        ("http://127.0.0.1:9", "does not answer", "start it, or correct the tracking URI"),
        (
            "http://u:p@127.0.0.1:9",
            "u:***@127.0.0.1:9 does not answer ([Errno 111]",
            "start it",
        ),
        ("http://", "http:// lacks a host", "write http://HOST:PORT"),
        ("http://[::1", "has a port that is none", "write http://HOST:PORT"),
        ("http://host:99999", "has a port that is none", "write http://HOST:PORT"),
        ("databricks", "knows no login of this user", "DATABRICKS_TOKEN"),
        ("uc:x", "uc:x is a Unity Catalog, which keeps models and no runs", "write http://HOST:PO"),
        (" ", "the tracking URI is blank", "or unset MLFLOW_TRACKING_URI"),
        ("nowhere/mlflow.db", "is no URI, and nothing is there", "write http://HOST:PORT"),
        ("u:secret@host:5000", "u:***@host:5000 is no URI", "write http://HOST:PORT"),
        (
            "mysql://u:secret@127.0.0.1:1/x",
            "mysql://u:***@127.0.0.1:1/x needs the package MySQLdb",
            "pip install mysqlclient",
        ),
    ],
)
def test_an_address_that_leads_nowhere_is_named_with_its_cause(
    uri: str, found: str, cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LedgerError) as caught, tracking.opened(uri):
        pass
    assert found in caught.value.found and cure in caught.value.cure
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("prefix", ["", "file:", "file://"])
def test_a_database_without_a_scheme_is_named_with_its_uri(prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "a#b" / "mlflow.db"
    path.parent.mkdir()
    make(path)
    with pytest.raises(LedgerError) as caught, tracking.opened(f"{prefix}{path}"):
        pass
    assert caught.value.found == f"{prefix}{path} is a file, and no URI of one"
    with tracking.opened(caught.value.cure.removeprefix("write ")):
        pass


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://u:hidden@127.0.0.1:1/x",
        "postgresql://u:a@hidden@127.0.0.1:1/x",
        "postgresql://u:a/hidden@127.0.0.1:1/x",
        "postgresql://u:1/a:hidden@127.0.0.1:1/x",
        "postgresql://u@127.0.0.1:1/x?user=u&password=hidden",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dhidden",
        "http://u:hidden@127.0.0.1:9",
        "http://u:a@hidden@127.0.0.1:9",
        "http://u:a/hidden@127.0.0.1:9",
        "ftp://u:hidden@host/x",
        "sqlite://u:hidden@host",
    ],
)
def test_no_part_of_a_password_is_printed(uri: str) -> None:
    with pytest.raises(LedgerError) as caught, tracking.opened(uri):
        pass
    assert "hidden" not in str(caught.value) and "***" in str(caught.value)
    assert "hidden" not in tracking.command(uri, "server")
    assert "hidden" not in tracking.without_password(f"adopt --from {uri}")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that gives every question the same answer."""
    code, body = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("server", "found", "cure"),
    [
        ((401, b"who are you?"), "does not let this user in", "MLFLOW_TRACKING_USERNAME"),
        ((403, b'{"error_code": "PERMISSION_DENIED"}'), "does not let this user in", "TOKEN"),
        ((404, b"<html>"), "is not MLflow: it answers 404", "correct the tracking URI"),
        ((200, b"<html>"), "is not MLflow: its answers", "correct the tracking URI"),
        ((501, b"a database that is away"), "fails", "see its own log"),
    ],
    indirect=["server"],
)
def test_a_server_that_refuses_is_named_with_its_cause(server: str, found: str, cure: str) -> None:
    with pytest.raises(LedgerError) as caught, tracking.opened(server):
        pass
    assert server in caught.value.found
    assert found in caught.value.found and cure in caught.value.cure


@pytest.mark.parametrize("server", [(404, b"<html>")], indirect=True)
def test_a_login_in_the_address_of_a_server_is_no_part_of_its_host(server: str) -> None:
    uri = server.replace("http://", "http://user:hidden@")
    with pytest.raises(LedgerError, match="is not MLflow: it answers 404"), tracking.opened(uri):
        pass
    assert tracking.without_login(f"{uri}/path") == f"{server}/path"


def test_a_deleted_experiment_is_said_to_be_deleted(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    number = client.create_experiment("gone")
    client.delete_experiment(number)
    with tracking.opened(uri) as opened:
        assert tracking.experiment_id(opened, "never") is None
        with pytest.raises(LedgerError, match=f"restore --experiment-id {number}$"):
            tracking.experiment_id(opened, "gone")


# It fills more than SQLite's cache, so that pages reach the file before the end.
WRITER = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 10")
connection.execute("BEGIN")
connection.executemany(
    "INSERT INTO experiments (name, lifecycle_stage) VALUES (?, 'active')",
    ((f"{number:0500}",) for number in range(2000)),
)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_half_done_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").create_experiment("kept")
    done = subprocess.run([sys.executable, "-c", WRITER, str(path)], check=False)
    assert done.returncode == -9 and path.with_name("mlflow.db-journal").stat().st_size
    with tracking.connected(path) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM experiments")}
    assert names == {"Default", "kept"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        # As PostgreSQL and MySQL say it through SQLAlchemy.
        (
            '(psycopg2.OperationalError) connection to server at "db", port 5432 failed: '
            'FATAL:  password authentication failed for user "mlflow"',
            "does not let this user in",
        ),
        ("(1045, \"Access denied for user 'mlflow'@'10.0.0.7'\")", "does not let this user in"),
        ('could not translate host name "db" to address', "does not answer"),
    ],
)
def test_an_expired_password_of_a_database_is_no_wrong_address(words: str, found: str) -> None:
    error = tracking.cause("postgresql://mlflow:hunter2@db/mlflow", RuntimeError(words))
    assert found in error.found and "hunter2" not in str(error)
