"""The full configuration of a run: `run.json` in its directory.

With a checkpoint it is all that rebuilding the model needs. Paths of texts are of the machine that
trained last.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from kernels.files import read_bytes, write_atomically
from workloads.config.run import RunConfig
from workloads.errors import InputError

CONFIG_FILE = "run.json"


def record_config(run_dir: Path, config: RunConfig) -> None:
    """Write the run's configuration into its directory."""
    write_atomically(run_dir / CONFIG_FILE, config.model_dump_json(indent=1) + "\n")


def read_config(run_dir: Path) -> RunConfig:
    """Return the run's configuration. Raises InputError where its directory does not hold it."""
    path = run_dir / CONFIG_FILE
    try:
        return RunConfig.model_validate_json(read_bytes(path))
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing: {run_dir} is no run's directory, or was trained before runs kept "
            f"their configuration; name another, or give it one, which trains nothing: python -m "
            f"workloads train CONFIG.yaml --out {run_dir}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path}: {where}: {first['msg']}; train the run again") from None
