"""Token data written by formulations of their own, for the tests of formats.

`PUBLIC` holds what the public systems made of known documents: `simple_rows_1025.npy` by
CLAIRE-Labo/StructuredFFN, `packed/` by the packed-dataset builder of lit-gpt and PRTS from the
token lists of `packed_documents.json` (chunk 68, padded with 1), `slimpajama_packed/` by the same
(chunk 8256, padded with 1), `llm_baselines_train.bin` by epfml/llm-baselines.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.command import run_main
from workloads.__main__ import main

PUBLIC = Path(__file__).parents[1] / "public"
PACKED_DOCUMENTS = json.loads((PUBLIC / "packed_documents.json").read_text())["documents"]
END = 256  # of the byte tokenizer


def data(*arguments: str | Path | int) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m workloads data ...`."""
    done = run_main(main, "workloads", "data", *map(str, arguments))
    return done.returncode, done.stdout, done.stderr


def refused(*arguments: str | Path | int) -> str:
    """The one line of a user's mistake."""
    code, out, err = data(*arguments)
    assert code == 2 and not out, (out, err)
    (line,) = err.splitlines()
    return line


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def own_dataset(
    folder: Path,
    train: Sequence[int] | np.ndarray,
    val: Sequence[int] | np.ndarray = (1, END),
    vocab_size: int = 257,
    shard_tokens: int = 1000,
) -> Path:
    """A dataset of format 1 with these tokens, cut into shards."""
    folder.mkdir(parents=True)
    dtype = "<u2" if vocab_size <= 2**16 else "<u4"
    splits = {}
    for name, tokens in (("train", np.asarray(train)), ("val", np.asarray(val))):
        shards = []
        for first in range(0, tokens.size, shard_tokens):
            content = tokens[first : first + shard_tokens].astype(dtype).tobytes()
            file = f"{name}-{len(shards):05d}.bin"
            (folder / file).write_bytes(content)
            count = len(content) // np.dtype(dtype).itemsize
            sha256 = hashlib.sha256(content).hexdigest()
            shards.append({"file": file, "tokens": count, "sha256": sha256})
        documents = int((tokens == END).sum())
        sizes = {"documents": documents, "bytes": tokens.size - documents, "tokens": tokens.size}
        splits[name] = sizes | {"shards": shards}
    manifest = {
        "format": 1,
        "source": "python-stdlib",
        "tokenizer": "byte",
        "vocab_size": vocab_size,
        "dtype": dtype,
        "val_fraction": 0.5,
        "fingerprint": "0" * 16,
        **splits,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def prepared(
    folder: Path,
    train: Sequence[Sequence[int]],
    val: Sequence[Sequence[int]] = ((3, 2),),
    tokenizer: Path | None = None,
    row_tokens: int | None = None,
    shard_tokens: int = 10**6,
) -> Path:
    """A dataset of format 2 with these documents, whose last tokens are their ends."""
    folder.mkdir(parents=True)
    splits = {}
    for name, documents in (("train", train), ("val", val)):
        tokens = np.concatenate([[], *documents]).astype("<u2")
        lengths = [len(document) for document in documents]
        starts = np.cumsum([0, *lengths])[:-1].astype("<u8")
        shards = []
        for first in range(0, tokens.size, shard_tokens):
            part = tokens[first : first + shard_tokens]
            file, sha256 = (
                f"{name}-{len(shards):05d}.bin",
                hashlib.sha256(part.tobytes()).hexdigest(),
            )
            (folder / file).write_bytes(part.tobytes())
            shards.append({"file": file, "tokens": part.size, "sha256": sha256})
        # Documents come from the rows of two files in turn.
        numbers = np.arange(len(documents), dtype="<u8")
        origins = numbers % 2 * 2**40 + numbers // 2 + 1
        indexes = {}
        for key, array in (("documents", starts), ("origins", origins)):
            file, content = f"{name}-{key}.bin", array.tobytes()
            (folder / file).write_bytes(content)
            indexes[key] = {"file": file, "sha256": hashlib.sha256(content).hexdigest()}
        splits[name] = {
            "documents": None if row_tokens else len(documents),
            "bytes": None if row_tokens else tokens.size,
            "tokens": tokens.size,
            "shards": shards,
            "starts": None if row_tokens else indexes["documents"],
            "origins": None if row_tokens else indexes["origins"],
        }
    content = tokenizer.read_bytes() if tokenizer else b""
    lengths = [len(document) for document in (*train, *val)]
    counts = dict.fromkeys(("duplicates", "dropped", "skipped", "skipped_files"), 0)
    counts |= {"documents": len(lengths), "bytes": sum(lengths), "tokens": sum(lengths)}
    counts |= {"longest_document": max(lengths)}
    hashed: dict[str, Any] = {"dtype": "<u2", "vocab_size": 512}
    hashed |= {name: [shard["sha256"] for shard in splits[name]["shards"]] for name in splits}
    hashed |= {"row_tokens": row_tokens} if row_tokens else {}
    manifest = {
        "format": 2,
        "recipe": "documents",
        "tokenizer": {
            "name": "tokenizer.json",
            "sha256": hashlib.sha256(content).hexdigest(),
            "vocab_size": 512,
            "end_of_document": 2,
        },
        "dtype": "<u2",
        "text_field": "text",
        "where": [],
        "val_fraction": 0.5,
        "drop_duplicates": False,
        "row_tokens": row_tokens,
        "inputs": [
            {"name": name, "sha256": "0" * 64, "bytes": 9, "documents": documents}
            for name, documents in (("a.jsonl", len(lengths)), ("b.jsonl.gz", 0))
        ],
        "counts": counts,
        "fingerprint": hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16],
        **splits,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if tokenizer:
        (folder / "tokenizer.json").write_bytes(content)
    return folder


def chunk(path: Path, tokens: Sequence[int], dtype: str = "<u2", code: int = 8) -> Path:
    """A LITPKDS chunk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = b"LITPKDS" + struct.pack("<QBQ", 1, code, len(tokens))
    path.write_bytes(header + np.array(tokens, dtype).tobytes())
    return path


def megatron(
    prefix: Path,
    documents: Sequence[Sequence[Sequence[int]]],
    dtype: str = "<u2",
    code: int = 8,
) -> Path:
    """A Megatron pair, of documents that are lists of sequences; returns the prefix."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    sequences = [np.array(sequence, dtype) for document in documents for sequence in document]
    prefix.with_suffix(".bin").write_bytes(b"".join(s.tobytes() for s in sequences))
    edges = np.cumsum([0, *(len(document) for document in documents)])
    pointers = np.cumsum([0, *(s.nbytes for s in sequences)])[:-1]
    prefix.with_suffix(".idx").write_bytes(
        b"MMIDIDX\x00\x00"
        + struct.pack("<QBQQ", 1, code, len(sequences), len(edges))
        + np.array([s.size for s in sequences], "<i4").tobytes()
        + pointers.astype("<i8").tobytes()
        + edges.astype("<i8").tobytes()
    )
    return prefix
