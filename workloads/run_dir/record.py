"""Files of a run's directory that hold one record as JSON: written whole, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from kernels.files import read_bytes, write_atomically
from workloads.errors import InputError

Record = TypeVar("Record", bound=BaseModel)


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record whole."""
    write_atomically(path, record.model_dump_json(indent=1) + "\n")


def read_record(path: Path, kind: type[Record], missing: str) -> Record:
    """Return a record. Raises InputError where the file is damaged, or missing, for which `missing`
    says since when runs have it, and the remedy."""
    try:
        return kind.model_validate_json(read_bytes(path))
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing: {path.parent} is no run's directory, or was trained before {missing}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path}: {where}: {first['msg']}; train the run again") from None
