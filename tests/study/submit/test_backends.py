"""Which back-end a command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.submit import backends
from study.submit.slurm import Slurm
from tests.study.launching import ROOT
from workloads.errors import InputError

FILE = ROOT / "cluster" / "slurm.yaml"


def test_options_that_do_not_go_together_are_one_line_with_the_right_ones() -> None:
    wrong: dict[str, tuple[str, str | None, Path | None]] = {
        "the nearest is slurm (of ray, slurm, kuberay)": ("slrum", None, FILE),
        "--on ray takes --address URL": ("ray", None, None),
        "--on slurm takes --cluster FILE and no address; cluster/slurm.yaml": ("slurm", "a", FILE),
        "--on kuberay takes --cluster FILE": ("kuberay", None, None),
    }
    for words, given in wrong.items():
        with pytest.raises(InputError) as caught:
            backends.choose(*given)
        assert words in str(caught.value)
    assert isinstance(backends.choose("slurm", None, FILE), Slurm)
    with pytest.raises(InputError, match=r"slurm.yaml:\d+: gpu_type"):
        backends.choose("kuberay", None, FILE)
