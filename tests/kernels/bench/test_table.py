"""The table of claims: statuses, conditions, and the published document."""

from pathlib import Path

import pytest

from kernels.bench import records, table
from kernels.bench.claims import CLAIMS
from kernels.bench.errors import InputError
from tests.kernels.bench.tiny import CLAIMS as TINY
from tests.kernels.bench.tiny import record, write


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CLAIMS", TINY)


def statuses(text: str) -> dict[str, str]:
    """Return the status of each claim, named by the position of its section and its own name."""
    found: dict[str, str] = {}
    for number, section in enumerate(text.split("\n## ")[1:]):
        rows = [row.split(" | ") for row in section.splitlines() if row.startswith("| `")]
        found |= {f"{number}:{row[0].strip('| `')}": row[-1].removesuffix(" |") for row in rows}
    return found


def test_the_table_says_what_each_claim_stands_on(tmp_path: Path) -> None:
    write(
        tmp_path / "machine.jsonl",
        record("a/plain", verified=False),
        record("a/plain"),  # The newest counts.
        record("a/dense", threshold=1e9, verified=False),
        record("b", source="another"),
    )
    text = table.table(tmp_path)
    assert statuses(text) == {
        "0:a/plain": "verified",
        "0:a/dense": "missed",
        "0:a/peak": "not measured",
        "0:b": "stale",
        "1:a/plain": "not measured",
    }
    assert "## a machine: CPU" in text and "## CUDA, bfloat16: no run recorded" in text
    assert "1.50 (1.25-1.75) | 50%" in text and "100 GFLOP/s and 10.0 GB/s" in text
    assert "| 0.00, 100000000000% of peak | - |" in text


def test_a_changed_threshold_is_stale(tmp_path: Path) -> None:
    write(tmp_path / "machine.jsonl", record("a/plain", threshold=1.0), record("a/peak"))
    text = table.table(tmp_path)
    assert statuses(text)["0:a/plain"] == statuses(text)["0:a/peak"] == "stale"
    assert "**2 of these claims are stale**" in text


def test_a_damaged_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "machine.jsonl"
    write(path, record("b"), {"claim": "b"})
    with pytest.raises(InputError, match=r"machine\.jsonl, line 2: not a measured claim, without"):
        table.table(tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"machine\.jsonl, line 1: not a measured claim"):
        table.table(tmp_path)


def test_the_published_table_holds_what_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every edit of a kernel makes statuses stale; that alone need not be published at once."""

    def measured(text: str) -> list[str]:
        lines = [line for line in text.splitlines() if line and not line.startswith("**")]
        return [line.rsplit(" | ", 1)[0] if line.startswith("| `") else line for line in lines]

    monkeypatch.setattr(table, "CLAIMS", CLAIMS)
    published = records.RESULTS.with_name("RESULTS.md").read_text(encoding="utf-8")
    remedy = "python -m kernels table > kernels/bench/RESULTS.md"
    assert measured(published) == measured(table.table()), remedy
