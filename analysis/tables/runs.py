"""The run table: one row a run, the only thing that fits and figures read.

A table comes from MLflow (`load_mlflow`), from a CSV (`load_csv`) or from any data frame
(`run_table`); all three end in the same columns, types and row order. `split_usable` then separates
the runs that a fit may use from those it may not, each of the latter with its reason: no run is
dropped silently.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.tables import tracking
from analysis.tables.cells import are_numbers, number_column, read_text
from analysis.tables.columns import own_column, status_column
from analysis.tables.entering import FINISHED, leave_out_repeats, why_left_out
from analysis.tables.errors import RunTableError, nearest
from analysis.tables.files import TableFile, read_file
from analysis.tables.frames import numbers, texts


@dataclass(frozen=True)
class Column:
    """One column: where MLflow keeps it, its type, and its unit or meaning.

    `absent` is what every run has where a file lacks the column.
    """

    home: Literal["run", "tag", "param", "metric"]
    kind: Literal["text", "number"]
    meaning: str
    required: bool = False
    absent: str = ""


# `tokens` and `train_flops` are MLflow metrics too (the progress so far); the table holds the
# params, which are the totals of the plan.
RUN_COLUMNS: dict[str, Column] = {
    "run_id": Column("run", "text", "MLflow run id"),
    "study": Column("tag", "text", "name of the study"),
    "point_id": Column("tag", "text", "readable id of the point, unique in a study"),
    "fingerprint": Column("tag", "text", "hash of all that changes the result"),
    "status": Column("tag", "text", "how it ended or stands", absent=FINISHED),
    "preset": Column("param", "text", "model size"),
    "width": Column("param", "number", "multiplier of the preset's width (1 if empty)"),
    "arm": Column("param", "text", "legend label: one FFN kind at one fraction", absent="all runs"),
    "ffn_kind": Column("param", "text", "parametrization of the FFN's projections"),
    "ffn_rank": Column("param", "number", "rank; empty for kinds without one"),
    "ffn_nblocks": Column("param", "number", "number of blocks; empty for kinds without them"),
    "ffn_fraction": Column("param", "number", "FFN weights over the dense FFN's"),
    "guide_ratio": Column(
        "param", "number", "fraction of the steps that are self-guided; empty if none"
    ),
    "guide_mode": Column("param", "text", "whether guidance keeps the steps or the FLOPs"),
    "growth": Column("param", "text", "operator, size and time of each growth; empty if none"),
    "growth_factor": Column(
        "param", "number", "layers times width of the model over those of its first base"
    ),
    "base_train_flops": Column(
        "param",
        "number",
        "training FLOPs before the last growth, those of learned matrices included",
    ),
    "recipe": Column("param", "text", "transfer rule of rates and scales (fixed if empty)"),
    "recipe_base": Column("param", "text", "width x layers that its rates are tuned at, if any"),
    "hidden_dim": Column("param", "number", "width of the residual stream"),
    "num_layers": Column("param", "number", "layers of the model"),
    "params": Column("param", "number", "parameters of the model"),
    "ffn_params": Column("param", "number", "parameters of its FFNs"),
    "wall_seconds": Column("param", "number", "seconds until a clock ended it; empty if none"),
    "tokens": Column("param", "number", "training tokens"),
    "passes": Column("param", "number", "passes over the training text; empty if not known"),
    "mixture": Column("param", "text", "weights of the training text's sources; empty for one"),
    "steps": Column("param", "number", "optimizer steps, those that read tokens again included"),
    "batch_size": Column("param", "number", "sequences of one optimizer step, over all workers"),
    "tokens_per_step": Column("param", "number", "tokens of one optimizer step"),
    "train_flops": Column("param", "number", "training FLOPs of the whole run", required=True),
    "flop_convention": Column("param", "text", "how those FLOPs are counted", absent="unstated"),
    "optimizer": Column("param", "text", "its kind and what differs from the kind's defaults"),
    "learning_rate": Column("param", "number", "peak learning rate"),
    "seed": Column("param", "number", "random seed"),
    "val_loss": Column("metric", "number", "validation loss, nats per token", required=True),
    "bits_per_byte": Column("metric", "number", "validation loss, bits per byte of text"),
    "hardware_flops": Column("metric", "number", "FLOPs of the products really carried out"),
    "train_seconds": Column("metric", "number", "time in the training loop, seconds"),
    "tokens_per_second": Column("metric", "number", "training throughput, tokens per second"),
    "commit": Column("tag", "text", "git commit of the code that ran"),
    "hardware": Column("tag", "text", "device that ran it"),
    "kernel_path": Column("tag", "text", "path that each operation took"),
    "source": Column("tag", "text", "where a loss was read that no run of ours gave"),
}

# What is said of an FFN beside its kind's sizes, each of which has a column, such as `ffn_rank`.
NOT_SIZES = ("ffn_kind", "ffn_fraction", "ffn_params", "ffn_dim")

# How the losses on the texts of a mixture, and on evaluation sets, begin.
LOSSES = ("val_loss/", "bits_per_byte/")


def load_mlflow(tracking_uri: str, study: str) -> pd.DataFrame:
    """Read the points of `study` from the MLflow experiment of that name.

    Runs without a `point_id` tag (the study's parent run) and deleted runs are left out.

    Raises:
        RunTableError: no such store or experiment, or a value that is not a number.
    """
    place = tracking.shown(tracking_uri)
    with tracking.opened(tracking_uri) as client:
        experiment = tracking.experiment_id(client, study)
        if experiment is None:
            names = [found.name for found in client.search_experiments()]
            raise RunTableError(
                f"{place}: no study {study!r}{nearest(study, names)}; "
                "check the name and the tracking URI"
            )
        rows = [
            mlflow_row(run.info.run_id, run.data.tags, run.data.params, run.data.metrics)
            for run in tracking.find_runs(client, experiment, order="attributes.start_time ASC")
            if "point_id" in run.data.tags
        ]
    names = columns_among(name for row in rows for name in row)
    return run_table(pd.DataFrame(rows, columns=list(names)), f"{place} ({study})")


def columns_among(names: Iterable[str]) -> dict[str, Column]:
    """Return the columns of a run table that has these names: `RUN_COLUMNS`, further sizes, and the
    losses on further texts.

    An FFN kind may have sizes of its own. A name that begins with `ffn_` is one of them. The loss
    on a text has its name behind a slash: `val_loss/wiki`.
    """
    columns, names = dict(RUN_COLUMNS), list(names)
    for name in size_columns(names):
        columns.setdefault(name, Column("param", "number", "a size of the FFN kind"))
    for name in sorted(name for name in names if name.startswith(LOSSES)):
        columns[name] = replace(RUN_COLUMNS[name.partition("/")[0]], required=False)
    return columns


def with_loss(runs: pd.DataFrame, name: str, source: str) -> pd.DataFrame:
    """Return a run table whose loss is another of its columns: `bits_per_byte`, `val_loss/wiki`.

    Raises:
        RunTableError: the table has no such loss, or no value of it.
    """
    losses = [column for column in runs.columns if is_loss(column)]
    if name not in losses:
        raise RunTableError(
            f"{source}: no loss {name!r}{nearest(name, losses)}; it has {', '.join(losses)}"
        )
    if not np.isfinite(runs[name].to_numpy()).any():
        raise RunTableError(
            f"{source}: column {name!r} is empty: the bytes of the text were not known; give its "
            "tokenizer in the study file"
        )
    return runs.assign(val_loss=runs[name])


def is_loss(name: str) -> bool:
    """Tell whether a run table has a loss of this name: `bits_per_byte`, `val_loss/wiki`."""
    return name.startswith((*LOSSES, *(kind[:-1] for kind in LOSSES)))


def losses_of_texts(runs: pd.DataFrame) -> list[str]:
    """Return the columns that hold losses on sources and evaluation sets, and some value."""
    losses = [name for name in runs.columns if name.startswith(LOSSES)]
    return [name for name in losses if np.isfinite(numbers(runs, name)).any()]


def loss_label(name: str) -> str:
    """Say in words, with its unit, what a column of losses holds."""
    kind, _, text = name.partition("/")
    unit = {"val_loss": "nats per token", "bits_per_byte": "bits per byte"}[kind]
    return f"validation loss{f' on {text}' if text else ''} ({unit})"


def size_columns(names: Iterable[str]) -> list[str]:
    """Return those of the names that are columns of an FFN's sizes, sorted."""
    return sorted({n for n in names if n.startswith("ffn_") and n not in NOT_SIZES})


def mlflow_row(
    run_id: str,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    metrics: Mapping[str, float],
) -> dict[str, Any]:
    """Return the columns of one run that MLflow holds.

    Raises:
        LedgerError: someone has edited what the columns are computed from.
    """
    homes: dict[str, Mapping[str, Any]] = {
        "run": {"run_id": run_id},
        "tag": tags,
        "param": dict(params) | {"steps": _total_steps(run_id, tags, params)},
        # MLflow's SQL stores keep an infinity as the largest float.
        "metric": {
            name: math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
            for name, value in metrics.items()
        },
    }
    columns = columns_among([*params, *metrics])
    return {name: homes[column.home].get(name) for name, column in columns.items()}


def _total_steps(
    run_id: str, tags: Mapping[str, str], params: Mapping[str, str]
) -> str | int | None:
    """Return the steps of the whole run, those that read tokens again included.

    That is the parameter `steps`. Runs recorded before there was `config.steps` may have the steps
    on fresh tokens there: of these, the recorded configuration says how many come on top. A
    configuration that a clock ends has no number of steps.
    """
    if "identity" not in tags or "config.steps" in params:
        return params.get("steps")
    try:
        config = json.loads(tags["identity"])
        if "clock" in config:
            return params.get("steps")
        fresh, guide = int(config["steps"]), config["model"].get("guide")
        repeats = guide and guide.get("mode") == "fixed_flops"
        return fresh + int(guide["ratio"] * fresh) if repeats else fresh
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        what = "has a tag identity that is not its configuration"
        raise tracking.edited(run_id, tags.get("point_id", ""), what) from None


def load_csv(path: Path, called: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a run table from a file with the columns of `RUN_COLUMNS`.

    Only the required columns must be there; the others, when absent, come out as `Column.absent`,
    and the ids as the numbers of the rows. Columns that `columns_among` does not name are left out.

    Args:
        path: the file.
        called: what the file calls columns of ours, by our names.

    Raises:
        RunTableError: the file cannot be read, lacks a required column, or holds a bad number.
    """
    file = read_called(path, called)
    return run_table(file.frame, file.source)


def read_called(path: Path, called: Mapping[str, str] | None) -> TableFile:
    """Read a file, with columns of ours under our names too; see `load_csv`."""
    file = read_file(path)
    frame = file.frame
    for ours, theirs in (called or {}).items():
        if theirs not in frame.columns:
            raise RunTableError(
                f"{file.source}: no column {theirs!r}{nearest(theirs, frame.columns)} for {ours}"
            )
        frame = frame.assign(**{ours: frame[theirs]})
    return replace(file, frame=frame)


def load_studies(paths: Sequence[Path], called: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read the run tables of one or more studies; of several as one, arms and points named after
    their study, or after the file that names none.

    Raises:
        RunTableError: a file makes no run table, or two are of one study.
    """
    tables = [load_csv(path, called) for path in paths]
    if len(tables) == 1:
        return tables[0]
    seen: dict[str, Path] = {}
    for path, table in zip(paths, tables, strict=True):
        study = table["study"].where(table["study"] != "", path.stem)
        for name in ("arm", "point_id"):
            table[name] = study + "/" + table[name]
        for name in study.unique():
            if name in seen:
                raise RunTableError(
                    f"{path}: study {name!r} is in {seen[name]} too; give one table a study, or "
                    "rename the file"
                )
            seen[name] = path
    return run_table(pd.concat(tables, ignore_index=True), ", ".join(map(str, paths)))


def run_table(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Give `frame` the columns, types and row order of a run table.

    Numbers become float64 (a product of parameters and tokens overflows int64), absent text the
    empty string. Rows are ordered by kind (dense first), fraction, arm and FLOPs, so the same runs
    make the same table whatever order they were read in; ties keep the order they came in.

    Args:
        frame: rows with at least the required columns; values may be text.
        source: where the rows come from, for error messages.

    Raises:
        RunTableError: a required column is absent, or a value is not a number.
    """
    file = TableFile(source, frame.rename(columns=str))
    frame = file.frame
    homes = {name: _home(file, name) for name in RUN_COLUMNS}
    _refuse_missing(file, [name for name, home in homes.items() if home is None])
    table = pd.DataFrame(index=pd.RangeIndex(len(frame)))
    numeric = [name for name in frame.columns if are_numbers(frame[name])]
    for name, column in columns_among(numeric).items():
        home = homes.get(name, name)
        if column.kind == "text":
            values = [column.absent] * len(frame) if home is None else frame[home]
            if home is None and name == "point_id":
                values = [f"row {number}" for number in range(1, len(frame) + 1)]
            table[name] = pd.Series([read_text(v) for v in values], dtype="str")
        elif home is not None:
            table[name] = number_column(frame, source, home, column.meaning)
        else:
            table[name] = math.nan
    order = table.assign(
        is_structured=table["ffn_kind"] != "dense", smallness=-table["ffn_fraction"]
    ).sort_values(
        ["is_structured", "ffn_kind", "smallness", "arm", "train_flops", "point_id"],
        kind="stable",
        na_position="first",
    )
    return table.loc[order.index].reset_index(drop=True)


def _home(file: TableFile, name: str) -> str | None:
    """Find the file's column of this name; None where there is none.

    Raises:
        RunTableError: several columns may be it.
    """
    if name == "status":
        return status_column(file, remedy="keep one of them")
    return own_column(file, name, "keep one, of that name")


def _refuse_missing(file: TableFile, absent: list[str]) -> None:
    """Raise an error that names all required columns that are absent."""
    lacking = [name for name in absent if RUN_COLUMNS[name].required]
    if lacking:
        places = " and no column ".join(
            f"{name!r}{nearest(name, file.frame.columns)}" for name in lacking
        )
        meanings = "; ".join(f"{name}: {RUN_COLUMNS[name].meaning}" for name in lacking)
        remedy = f"rename or add {'it' if len(lacking) == 1 else 'them'}"
        raise RunTableError(f"{file.source}: no column {places}; {remedy} ({meanings})")


def split_usable(
    runs: pd.DataFrame, source: str = "run table"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a run table into the runs that may enter a fit and those that may not.

    Of several usable runs of one point the first row enters.

    Args:
        runs: a run table.
        source: where its rows come from, for error messages.

    Returns:
        `(used, excluded)`; `excluded` has one more column, `reason`.

    Raises:
        RunTableError: the usable runs count FLOPs by more than one convention.
    """
    labels = {name: texts(runs, name) for name in ("point_id", "arm", "flop_convention")}
    values = {name: numbers(runs, name) for name in ("val_loss", "train_flops")}
    reasons = why_left_out(runs["status"], labels, values)
    leave_out_repeats(reasons, labels["point_id"])
    marked = runs.assign(reason=reasons)
    used = marked.loc[marked["reason"] == ""].drop(columns="reason").reset_index(drop=True)
    excluded = marked.loc[marked["reason"] != ""].reset_index(drop=True)
    conventions = sorted(set(used["flop_convention"]))
    if len(conventions) > 1:
        raise RunTableError(
            f"{source}: column 'flop_convention' mixes {', '.join(conventions)}: FLOPs of "
            "different conventions share no axis; recount them by one convention or split the table"
        )
    return used, excluded
