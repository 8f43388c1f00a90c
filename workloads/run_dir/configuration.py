"""The full configuration of a run: `run.json` in its directory.

With a checkpoint it is all that rebuilding the model needs. Paths of texts are of the machine that
trained last.
"""

from __future__ import annotations

from pathlib import Path

from workloads.config.run import RunConfig
from workloads.run_dir.record import read_record, write_record

CONFIG_FILE = "run.json"


def record_config(run_dir: Path, config: RunConfig) -> None:
    """Write the run's configuration into its directory."""
    write_record(run_dir / CONFIG_FILE, config)


def read_config(run_dir: Path) -> RunConfig:
    """Return the run's configuration. Raises InputError where its directory does not hold it."""
    remedy = "name another, or give it one, which trains nothing: python -m workloads train"
    missing = f"runs kept their configuration; {remedy} CONFIG.yaml --out {run_dir}"
    return read_record(run_dir / CONFIG_FILE, RunConfig, missing)
