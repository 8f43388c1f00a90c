"""The choice of the library of the CPU's float32 products: what it measures, decides and keeps."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernels import gemm, switches
from kernels.gemm import Verdict

ONEDNN, DEFAULT = Verdict(3e-7, 2.0), Verdict(3e-7, 1.01)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    yield
    torch.set_float32_matmul_precision(before)


def found(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> list[int]:
    """Make `probe` return this verdict; the returned list grows with each call."""
    calls: list[int] = []
    monkeypatch.setattr(gemm, "probe", lambda: calls.append(1) or verdict)
    return calls


def test_the_probe_is_quick_and_leaves_no_trace() -> None:
    drawn = torch.get_rng_state()
    library = gemm.library()
    gemm.probe()
    start = time.process_time()
    verdict = gemm.probe()
    assert time.process_time() - start < 1
    assert torch.equal(torch.get_rng_state(), drawn) and gemm.library() == library
    # Rounded to bfloat16 a product errs by thousands of times as much as in float32.
    assert 1e-8 < verdict.error < 1e-2
    assert (verdict.speedup is None) == (verdict.error >= gemm.ERROR_LIMIT)


def test_a_product_that_is_chosen_is_as_exact_as_the_default(tmp_path: Path) -> None:
    gemm.choose(tmp_path)
    a, b = torch.randn(300, 200), torch.randn(200, 400)
    exact = a.double() @ b.double()
    assert float((a @ b - exact).norm() / exact.norm()) < gemm.ERROR_LIMIT


@pytest.mark.parametrize(
    ("verdict", "onednn"),
    [
        (ONEDNN, True),
        (DEFAULT, False),  # No faster,
        (Verdict(3e-7, 0.5), False),  # slower,
        (Verdict(2e-3, None), False),  # or too inexact to be timed.
        (Verdict(float("nan"), None), False),
    ],
)
def test_onednn_is_used_where_it_is_exact_and_faster(
    verdict: Verdict, onednn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, verdict)
    gemm.choose(tmp_path)
    assert (gemm.library() == "onednn") == onednn
    assert torch.get_float32_matmul_precision() == ("medium" if onednn else "highest")


def test_an_inexact_product_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = torch.zeros(gemm.SHAPE[0], gemm.SHAPE[2])
    monkeypatch.setattr(gemm, "_preallocated", lambda x, weight: rounded)
    assert gemm.probe() == Verdict(1.0, None)


def test_the_switch_keeps_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = found(monkeypatch, ONEDNN)
    gemm.use(True)
    with switches.reference("gemm"):
        gemm.choose(tmp_path)
    assert gemm.library() != "onednn" and not calls


def test_the_verdict_is_kept_for_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = found(monkeypatch, ONEDNN)
    assert gemm.verdict(tmp_path) == gemm.verdict(tmp_path) == ONEDNN
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".json" and torch.__version__ in json.loads(path.read_text())["setting"]
    # A process that starts later, at a time when the speed falls below the bar.
    monkeypatch.setattr(gemm, "_verdicts", {})
    found(monkeypatch, DEFAULT)
    assert gemm.verdict(tmp_path) == ONEDNN and len(calls) == 1
    # With another number of threads it is another question.
    torch.set_num_threads(2)
    assert gemm.verdict(tmp_path) == DEFAULT
    # On a CPU of the same name with fewer instructions too.
    torch.set_num_threads(1)
    with monkeypatch.context() as fewer:
        fewer.setattr(gemm, "instruction_sets", lambda: "fpu avx2")
        assert gemm.verdict(tmp_path) == DEFAULT
    # Deleted, it is measured anew.
    monkeypatch.setattr(gemm, "_verdicts", {})
    path.unlink()
    assert gemm.verdict(tmp_path) == DEFAULT


def test_of_two_processes_at_once_the_first_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower() -> Verdict:
        # Another process writes while this one still measures.
        monkeypatch.setattr(gemm, "_verdicts", {})
        found(monkeypatch, ONEDNN)
        gemm.verdict(tmp_path)
        return DEFAULT

    monkeypatch.setattr(gemm, "probe", slower)
    assert gemm.verdict(tmp_path) == ONEDNN
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"verdict": {"error": "x"}}', "\0"])
def test_a_damaged_file_is_measured_anew(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found(monkeypatch, ONEDNN)
    gemm.verdict(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    monkeypatch.setattr(gemm, "_verdicts", {})
    found(monkeypatch, DEFAULT)
    assert gemm.verdict(tmp_path) == DEFAULT
    assert f"{path} is damaged" in caplog.text
    monkeypatch.setattr(gemm, "_verdicts", {})
    found(monkeypatch, ONEDNN)
    assert gemm.verdict(tmp_path) == DEFAULT


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = found(monkeypatch, ONEDNN)
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "below"
    assert gemm.verdict(folder) == gemm.verdict(folder) == ONEDNN
    assert len(calls) == 1 and "set XDG_CACHE_HOME" in caplog.text
