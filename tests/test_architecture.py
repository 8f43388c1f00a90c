"""The shape of the platform: which room may import which, and the commands people rely on."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

import analysis.commands.app
import cluster.commands
import kernels.bench.app
import study.commands.app
import workloads.commands
from tests.tree import printed, tree

ROOT = Path(__file__).parents[1]
ROOMS = {"kernels", "workloads", "study", "analysis", "cluster"}
MAY_IMPORT = {
    "kernels": set(),
    "workloads": {"kernels"},
    "study": {"kernels", "workloads", "analysis"},
    "analysis": set(),
    "cluster": set(),
}
FOREIGN = {
    "kernels": {"ray", "mlflow"},
    "workloads": {"ray", "mlflow"},
    "analysis": {"ray", "torch"},
    "study": set(),
    "cluster": set(),
}
# The folders and shared files of a room, from the one that imports none of the others to the one
# that may import all. `__main__.py` may import all of them, and none of them imports it.
STAGES = {
    "workloads": [
        "errors", "files", "schema", "optim", "data", "config", "cost", "recipes", "run_dir", "nn",
        "inference", "training", "checks", "interop", "bench", "commands",
    ],
    "study": [
        "spec", "plan", "ledger", "search", "progress", "transfer", "display", "running", "corpus",
        "submit", "commands",
    ],
    "analysis": [
        "laws", "tables", "fitting", "uncertainty", "scaling", "growth", "figures", "report",
        "verbs", "notebooks", "commands", "bench",
    ],
}  # fmt: skip
MOST_LINES = 400  # of a file of product code
# What every command of `analysis` that fits a table takes.
TABLE_OPTIONS = {"runs", "--params-col", "--tokens-col", "--flops-col", "--loss-col"}
TABLE_OPTIONS |= {"--status-col", "--convention-col", "--convention", "--loss", "--delta", "--json"}
COMMANDS = {
    "study": {
        "plan": {"spec", "--json", "--runs"},
        "schema": set(),
        "prepare": {"spec", "--runs"},
        "run": {"spec", "--runs"},
        "status": {"spec", "--watch", "--json", "--runs"},
        "report": {"spec", "--runs"},
        "logs": {"spec", "point", "--runs"},
        "submit": {"spec", "--on", "--address", "--cluster", "--dry-run", "--follow", "--runs"},
        "stop": {"spec", "--on", "--address", "--cluster"},
        "ui": {"spec", "--runs"},
        "doctor": {"spec", "--machine", "--json", "--runs"},
        "export": {"spec", "out", "--runs"},
        "import": {"folder", "--runs"},
        "adopt": {"spec", "--from", "--runs"},
        "drop": {"spec", "point", "--reason", "--runs"},
    },
    "workloads": {
        "train": {"config", "--out", "--data-root"},
        "bench memory": {"--device", "--minutes", "--out"},
        "memory": {"config", "--gpu", "--host", "--json"},
        "import-reference": {"checkpoint", "config", "out"},
        "data prepare": {"sources", "--tokenizer", "--out", "--text-field", "--val-fraction"}
        | {"--workers", "--recipe", "--where", "--drop-duplicates", "--skip-bad", "--json"}
        | {"--gigatoken"},
        "data train-tokenizer": {"sources", "--vocab", "--out", "--text-field", "--where"}
        | {"--skip-bad"},
        "data inspect": {"path", "--block", "--json"},
        "data verify": {"path", "--vocab", "--block"},
        "data export": {"directory", "out", "--format", "--split", "--block", "--chunk", "--pad"}
        | {"--prefix"},
        "data seen": {"run", "--step", "--json"},
        "grow": {"source", "out", "--operator", "--layers", "--width", "--layer-map"}
        | {"--interleaved", "--alpha", "--matrices", "--seed", "--json"},
        "growth-guideline": {"--params", "--tokens", "--json"},
        "import-hf": {"folder", "out"},
        "export-hf": {"source", "out", "--dtype"},
        "schedule": {"config", "--json", "--plot"},
        "coordinate-check": {"config", "--widths", "--steps", "--seeds", "--json", "--plot"}
        | {"--data-root"},
        "bench train": {"--width", "--tokens", "--rounds", "--threads", "--out"},
        "bench shapes": {"--preset", "--layers", "--seconds", "--rounds", "--threads", "--json"}
        | {"--out"},
        "bench loader": {"--tokens", "--rounds", "--out"},
        "bench step": {"--rounds", "--out"},
        "bench prepare": {"--rounds", "--datatrove", "--out"},
        "bench decode": {"config", "--preset", "--kind", "--fraction", "--nblocks", "--out"},
    },
    "cluster": {"preflight": {"spec", "--runs", "--nodes", "--json"}},
    "kernels": {
        "bench claims": {"names", "--device", "--rounds", "--out"},
        "bench latency": {"--out", "--device", "--width", "--tokens", "--rounds"},
        "table": set(),
    },
    "analysis": {
        "report": {"runs", "--mlflow", "--study", "--out", "--title", "--loss-col", "--flops-col"},
        "fit": TABLE_OPTIONS
        | {"--law", "--unique-tokens-col", "--group-col", "--by", "--e", "--drop-highest"}
        | {"--outliers", "--starts", "--bootstrap", "--seed", "--level", "--also-params-col"}
        | {"--also-flops-col", "--alternatives", "--delta-path"},
        "compare": TABLE_OPTIONS
        | {"--by", "--reference", "--pair-col", "--at", "--extrapolate", "--group-col", "--e"}
        | {"--bootstrap", "--seed", "--level"},
        "predict": TABLE_OPTIONS
        | {"--at", "--optimal-at", "--law", "--unique-tokens-col", "--group-col", "--by", "--e"}
        | {"--drop-highest", "--bootstrap", "--seed", "--level"},
        "isoflop": TABLE_OPTIONS
        | {"--law", "--group-col", "--drop-highest", "--bootstrap", "--seed", "--level"},
        "next-runs": TABLE_OPTIONS
        | {"--at", "--budget", "--law", "--preset", "--arm", "--e", "--drop-highest", "--out"},
        "envelope": {"curves", "--group-col", "--by", "--flops-col", "--loss-col", "--loss"}
        | {"--delta", "--e", "--bootstrap", "--seed", "--level", "--json"},
        "growth": {"runs", "--curves", "--bootstrap", "--seed", "--level", "--json"},
        "plot": {"name", "files", "--out", "--loss-col", "--published-only"},
    },
}


def imported_by(room: str) -> set[str]:
    """Top-level packages that the room's files import, anywhere in them."""
    names: set[str] = set()
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                names.add((node.module or "").split(".")[0])
    return names


def modules_imported_by(path: Path) -> set[str]:
    """Dotted names of what a file imports, anywhere in it: `a.b.c` of `from a.b import c`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", sorted(STAGES))
def test_no_import_runs_up_inside_a_room(room: str) -> None:
    stages = STAGES[room]
    print(f"{room}: {' <- '.join(stages)}")
    packages = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}
    files = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__", "__main__"}
    assert packages | files == set(stages)
    upward = []
    for stage in stages:
        allowed = stages[: stages.index(stage) + 1]
        for path in [ROOT / room / f"{stage}.py", *sorted((ROOT / room / stage).rglob("*.py"))]:
            for name in sorted(modules_imported_by(path)) if path.exists() else []:
                package, _, rest = name.partition(".")
                if package == room and rest.split(".")[0] not in allowed:
                    upward.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not upward


def test_kernels_do_not_import_their_benchmarks() -> None:
    product = [p for p in (ROOT / "kernels").rglob("*.py") if p.parent.name != "bench"]
    importing = [p for p in product if any("kernels.bench" in m for m in modules_imported_by(p))]
    assert [path.name for path in importing] == ["__main__.py"]


def test_the_documents_print_the_tree_as_it_is() -> None:
    assert printed() == tree(STAGES), "write it anew: python -m tests.tree"


def test_no_file_of_product_code_is_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
    }
    assert not {path: lines for path, lines in lengths.items() if lines > MOST_LINES}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_go_one_way(room: str) -> None:
    imported = imported_by(room)
    assert imported & ROOMS - {room} <= MAY_IMPORT[room]
    assert not imported & FOREIGN[room]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_resolve_inside_the_repository(room: str) -> None:
    spec = importlib.util.find_spec(room)
    assert spec is not None and spec.origin == str(ROOT / room / "__init__.py")


def test_package_files_are_empty_but_for_the_version_and_the_notebook_names() -> None:
    found = ROOT.glob("[a-z]*/**/__init__.py")
    filled = {str(p.parent.relative_to(ROOT)) for p in found if p.read_text().strip()}
    assert filled == {"kernels", "analysis"}


APPS = {
    "study": study.commands.app.app,
    "workloads": workloads.commands.app,
    "analysis": analysis.commands.app.app,
    "kernels": kernels.bench.app.app,
    "cluster": cluster.commands.app,
}


@pytest.mark.parametrize("room", sorted(COMMANDS))
def test_command_line_grows_on_purpose(room: str) -> None:
    found = {
        name: {
            next((o for o in parameter.opts if o.startswith("--")), parameter.name)
            for parameter in command.params
            if parameter.name != "help"
        }
        for name, command in commands(typer.main.get_command(APPS[room])).items()
    }
    assert found == COMMANDS[room]


def commands(group: Any) -> dict[str, Any]:
    """The commands of a group by the words that call them, those of groups within it included."""
    found = {}
    for name, command in group.commands.items():
        inner = commands(command) if hasattr(command, "commands") else {"": command}
        found |= {f"{name} {rest}".strip(): sub for rest, sub in inner.items()}
    return found


@pytest.mark.parametrize("room", sorted(COMMANDS))
def test_every_command_shows_an_example(room: str) -> None:
    for command in COMMANDS[room]:
        done = CliRunner().invoke(APPS[room], [*command.split(), "--help"])
        assert done.exit_code == 0
        assert "Example" in done.stdout and f"python -m {room} {command}" in done.stdout
