"""The gain of grown arms on tables of known gain, and what is said where runs cannot tell."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.growth.measure import Growth, measure_growth
from analysis.growth.pairs import first_reach
from analysis.growth.series import families, series_of
from analysis.report.growth import paid, sentences
from analysis.scaling.arms import cells_of
from analysis.tables.errors import RunTableError
from analysis.tables.frames import where
from analysis.tables.runs import run_table, split_usable
from analysis.uncertainty.bootstrap import Resampling
from tests.analysis.known_growth import BASE_SHARE, grown_curves, grown_table

FEW = Resampling(300)
LENGTHS = (5, 10, 20, 40)


def pays_at_two(factor: float, _: float) -> float:
    """A gain above 1 at factor 2, below at 8."""
    return {2: 1.5, 8: 0.7}[int(factor)]


def measured(runs: pd.DataFrame, curves: pd.DataFrame | None = None) -> Growth:
    growth = measure_growth(split_usable(runs)[0], curves, FEW)
    assert growth is not None
    return growth


@pytest.fixture(scope="module")
def ends() -> Growth:
    return measured(grown_table(pays_at_two, factors=(2, 8)))


@pytest.fixture(scope="module")
def curves() -> Growth:
    runs = grown_table(pays_at_two, factors=(2, 8), tokens_per_param=(20,), noise=0)
    return measured(runs, grown_curves(runs, pays_at_two))


def test_ends_have_the_gain_with_its_interval_counted_twice(ends: Growth) -> None:
    for one, gain in zip(ends.ends, (1.5, 0.7), strict=True):
        assert one.whole and one.target
        assert one.whole.low < gain < one.whole.high < 1.3 * one.whole.low
        # At the same loss, the base's share of the FLOPs is all that the counts differ by.
        assert one.target.value == pytest.approx(one.whole.value / (1 - BASE_SHARE), rel=1e-3)


def test_a_sentence_or_two_say_whether_growth_paid(ends: Growth) -> None:
    said = paid(ends)
    assert said.startswith("Of 2 grown arms, growth paid in 1, did not pay in 1 (dense grown stack")
    assert re.search(
        r" x8\)\. The largest gain over dense is that of dense grown stack x2: for the same loss, "
        r"dense needs 1\.[45]\d \(95% interval 1\.\d\d to 1\.\d\d\) times its training FLOPs, the "
        r"base's included\.$",
        said,
    )
    only = measured(grown_table(pays_at_two, factors=(8,)))
    assert paid(only).startswith("Growth did not pay here. dense grown stack x8: for the same loss")


def test_the_first_sentence_stays_short_however_many_arms_grow() -> None:
    runs = grown_table(
        lambda factor, _: 0.9 - 0.01 * factor if factor > 2 else 1.5,
        factors=(2, 3, 4, 5, 6, 7),
        noise=0.0005,
    )
    runs = runs.assign(arm=runs["arm"].str.replace("dense grown", "dense, grown"))
    said = paid(measured(runs))
    assert said.startswith(
        "Of 6 grown arms, growth paid in 1, did not pay in 5. The largest gain over dense is that "
        "of grown stack x2: "
    )
    assert said.count(". ") == 1 and len(said) < 240


def test_curves_have_the_gain_at_the_higher_of_two_ends(curves: Growth) -> None:
    at_two, at_eight = curves.pairs_gains
    # The grown run read on its way down, where it has the loss that the scratch run ended with.
    assert at_two.read_at_end == "scratch"
    assert at_two.whole.value == pytest.approx(1.5, rel=1e-3)
    assert at_two.target and at_two.target.value == pytest.approx(
        1 / (1 / 1.5 - BASE_SHARE), rel=1e-3
    )
    assert at_eight.read_at_end == "grown"
    assert at_eight.whole.value == pytest.approx(0.7, rel=1e-3)
    assert at_eight.target and at_eight.target.value == pytest.approx(
        0.7 / (1 - BASE_SHARE), rel=1e-3
    )
    assert "at most: the scratch runs are read before their end" in "".join(sentences(curves))


def test_seeds_give_curves_their_interval() -> None:
    runs = grown_table(pays_at_two, factors=(2,), tokens_per_param=(20,), seeds=4)
    (gain,) = measured(runs, grown_curves(runs, pays_at_two)).pairs_gains
    logs = [pair.log_whole for pair in measured(runs, grown_curves(runs, pays_at_two)).pairs]
    half = 3.182446 * np.std(logs, ddof=1) / 2  # Student's t of 3 degrees of freedom
    assert math.log(gain.whole.value) == pytest.approx(np.mean(logs))
    assert math.log(gain.whole.high / gain.whole.low) == pytest.approx(2 * half, rel=1e-5)


def test_one_seed_and_one_length_leave_it_open() -> None:
    runs = grown_table(pays_at_two, factors=(2,), tokens_per_param=(20,), seeds=1)
    growth = measured(runs, grown_curves(runs, pays_at_two))
    assert paid(growth).startswith("Whether growth paid here is not settled. ")
    assert "one seed: no interval" in paid(growth)
    assert "the runs of dense are of one budget, which makes no line" in growth.ends[0].why_not
    without = measured(runs)
    assert paid(without).startswith("Whether growth paid cannot be told here: ")
    assert "--curves" in paid(without)


def test_nothing_is_extrapolated_where_losses_do_not_overlap() -> None:
    growth = measured(grown_table(lambda *_: 30.0, factors=(2,), tokens_per_param=(5, 7, 10)))
    (one,) = growth.ends
    assert one.whole is None and one.target is None
    assert "no common loss" in one.why_not and "longer runs from scratch would tell" in one.why_not
    assert growth.break_evens[0].surface is None


def test_the_base_has_to_be_known_and_possible() -> None:
    runs = grown_table(pays_at_two, factors=(2,))
    (one,) = measured(runs.assign(base_train_flops=np.nan)).ends
    assert one.whole and one.target is None and one.why_no_target == "base_train_flops is empty"
    wrong = runs.assign(base_train_flops=runs["base_train_flops"] * 9)
    with pytest.raises(
        RunTableError, match=r"point 1e\+08-5-2-0: base_train_flops 5.4e\+17 is not"
    ):
        measured(wrong)


def test_a_grown_run_is_read_after_it_grew() -> None:
    """A base may have had the loss already; growth raised it again."""
    runs = grown_table(pays_at_two, factors=(2,), tokens_per_param=(20,), noise=0)
    curves = grown_curves(runs, pays_at_two)
    early = curves["train_flops"] < BASE_SHARE * runs["train_flops"].iloc[0]
    curves.loc[early & (curves["arm"] != "dense"), "val_loss"] = 1.0
    (gain,) = measured(runs, curves).pairs_gains
    assert gain.whole.value == pytest.approx(1.5, rel=1e-3)


def test_a_loss_that_the_first_step_after_the_growth_has_says_nothing() -> None:
    runs = grown_table(pays_at_two, factors=(2,), tokens_per_param=(20,), noise=0)
    late = runs.assign(base_train_flops=runs["base_train_flops"] / BASE_SHARE * 0.99)
    growth = measured(late, grown_curves(runs, pays_at_two))
    assert not growth.pairs_gains
    said = "3 at loss 3.32 (it began, once grown, below that loss; validate more often)"
    assert said in "".join(sentences(growth))


def test_runs_without_a_scratch_arm_are_named() -> None:
    runs = grown_table(pays_at_two, factors=(2, 8))
    growth = measured(where(runs, runs["growth"] != ""))
    assert set(growth.alone) == {"dense grown stack x2", "dense grown stack x8"}
    assert "no run from scratch" in paid(growth)


def test_grown_runs_of_other_sizes_are_named() -> None:
    runs = grown_table(pays_at_two, sizes=(1e7, 1e8, 1e9), factors=(2,), seeds=1)
    growth = measured(where(runs, (runs["growth"] != "") | (runs["params"] < 1e9)))
    assert growth.alone == {"dense grown stack x2": "4 of its runs have a size that dense lacks"}
    assert len([one for one in growth.ends if one.whole]) == 2


def test_no_grown_run_no_growth() -> None:
    runs = grown_table(pays_at_two, factors=())
    assert measure_growth(split_usable(runs)[0]) is None


def test_pairs_need_equal_seeds_and_sizes() -> None:
    runs = grown_table(pays_at_two, factors=(2,), tokens_per_param=(20,))
    lone = where(runs, (runs["growth"] != "") | (runs["seed"] == 1))
    growth = measured(lone, grown_curves(lone, pays_at_two))
    whys = [pair.why_not for pair in growth.pairs]
    assert whys == ["no run from scratch of its size and seed", "", whys[0]]


@pytest.mark.parametrize(
    "sizes, lengths, names",
    [
        ((1e8,), LENGTHS, [""]),
        ((1e7, 1e8, 1e9), (20,), [""]),
        ((1e7, 1e8), LENGTHS, ["at 1e+07 parameters", "at 1e+08 parameters"]),
        ((1e7, 1e8, 1e9), (5, 20), [f"at {n} tokens a parameter" for n in (5, 20)]),
    ],
)
def test_lines_are_of_runs_that_differ_in_one_thing(
    sizes: tuple[float, ...], lengths: tuple[float, ...], names: list[str]
) -> None:
    runs = grown_table(pays_at_two, sizes=sizes, tokens_per_param=lengths, factors=(2,), seeds=1)
    (family,), _ = families(runs, "runs")
    found = series_of(family)
    assert [one.name for one in found] == names
    assert sum(len(one.runs) for one in found) == len(runs)


def test_ways_to_grow_of_one_arm_are_kept_apart() -> None:
    early = grown_table(pays_at_two, factors=(2,), seeds=1)
    late = early[early["growth"] != ""].assign(growth="stack x2 at 0.6")
    late = late.assign(point_id=late["point_id"] + "-late")
    (family,), _ = families(pd.concat([early, late], ignore_index=True), "runs")
    assert family.grown == (
        "dense grown stack x2 (stack x2 at 0.3)",
        "dense grown stack x2 (stack x2 at 0.6)",
    )


def test_the_scratch_arm_is_of_the_same_kind() -> None:
    runs = grown_table(pays_at_two, factors=(2,), seeds=1)
    other = runs.assign(
        arm=runs["arm"].str.replace("dense", "lowrank 50%"),
        ffn_kind="lowrank",
        point_id=runs["point_id"] + "-lowrank",
    )
    found, alone = families(pd.concat([runs, other], ignore_index=True), "runs")
    assert not alone
    assert [(one.scratch, one.grown) for one in found] == [
        ("dense", ("dense grown stack x2",)),
        ("lowrank 50%", ("lowrank 50% grown stack x2",)),
    ]


def test_first_reach() -> None:
    flops, losses = np.array([1.0, 10.0, 100.0, 1000.0]), np.array([4.0, 3.0, 3.2, 2.0])
    assert first_reach(flops, losses, 3.5) == pytest.approx(math.sqrt(10))
    assert first_reach(flops, losses, 3.1) == pytest.approx(10**0.9)  # at first, not for good
    assert first_reach(flops, losses, 1.9) is None and first_reach(flops, losses, 4.0) is None


def test_a_table_without_sizes_has_ends_alone() -> None:
    runs = grown_table(pays_at_two, factors=(2,)).assign(
        params=np.nan, tokens=np.nan, growth_factor=np.nan
    )
    growth = measured(runs, grown_curves(grown_table(pays_at_two, factors=(2,)), pays_at_two))
    assert growth.ends[0].whole and not growth.pairs_gains
    assert "no run from scratch of its size and seed" in "".join(sentences(growth))


def test_growth_that_pays_in_one_place_only_is_called_so() -> None:
    runs = grown_table(
        lambda _, ratio: 1.5 if ratio < 15 else 0.7, factors=(2,), tokens_per_param=(10, 20)
    )
    curves = grown_curves(runs, lambda _, ratio: 1.5 if ratio < 15 else 0.7)
    growth = measured(runs, curves)
    growth = replace(growth, ends=())
    assert paid(growth).startswith("Growth paid in some places and not in others. ")
    assert "0.7" in paid(growth) and "(2 places, each with its interval below)" in paid(growth)


def test_names_of_arms_decide_nothing(ends: Growth) -> None:
    """Neither their order nor that a grown run may have its scratch run's arm."""
    runs = grown_table(pays_at_two, factors=(2, 8))
    for arms in ({"dense": "z"}, {name: "dense" for name in set(runs["arm"])}):
        found = measured(run_table(runs.assign(arm=runs["arm"].replace(arms)), "runs"))
        assert [one.whole and one.whole.value for one in found.ends] == pytest.approx(
            [one.whole and one.whole.value for one in ends.ends]
        )


def test_runs_are_paired_by_the_last_model() -> None:
    """A grown run's preset is its base's, so equal presets are other models."""
    runs = grown_table(
        pays_at_two, sizes=(1e7, 1e8, 1e9), tokens_per_param=(20,), factors=(2,), seeds=1
    )
    grown = runs["growth"] != ""
    runs.loc[grown, "preset"] = "base of " + runs["preset"][grown]
    cells = cells_of(runs, ["dense", "dense grown stack x2"])
    assert cells is not None
    assert list(cells["dense"]) == list(cells["dense grown stack x2"]) == [
        "10000000", "100000000", "1000000000",
    ]  # fmt: skip


def test_reasons_without_a_gain_from_curves_are_told_once() -> None:
    """Not once for each loss."""
    runs = grown_table(pays_at_two, factors=(2,), tokens_per_param=(10, 20, 40), seeds=1)
    late = runs.assign(base_train_flops=runs["base_train_flops"] / BASE_SHARE * 0.99)
    (said,) = [line for line in sentences(measured(late, grown_curves(runs, pays_at_two)))
               if "without a gain from curves" in line]  # fmt: skip
    assert re.fullmatch(
        r"Grown runs without a gain from curves: 3 at losses \d\.\d+ to \d\.\d+ \(it began, once "
        r"grown, below that loss; validate more often\)\.",
        said,
    )


def test_one_arm_that_grows_after_other_tokens_at_each_size_is_one_way() -> None:
    runs = grown_table(
        pays_at_two, sizes=(1e7, 1e8), tokens_per_param=(5, 10, 20), factors=(2, 8), seeds=1
    )
    after = (runs["params"] / 10).map("{:.0f}".format)
    grew = runs["growth"] != ""
    timed = runs["growth"].str.replace("0.3", "", regex=False) + after + " tokens"
    runs["growth"] = timed.where(grew, "")
    growth = measured(runs)
    assert {one.arm for one in growth.ends} == {"dense grown stack x2", "dense grown stack x8"}
    (way,) = growth.break_evens
    assert (way.way, way.surface is not None) == ("stack", True)
    # With an arm for each, they stay apart.
    runs["arm"] = (runs["arm"] + " at " + after).where(grew, runs["arm"])
    assert [one.way for one in measured(runs).break_evens] == [
        *("stack at 1000000 tokens", "stack at 10000000 tokens")
    ]
