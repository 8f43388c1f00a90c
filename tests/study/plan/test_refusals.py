"""What training would refuse is refused by the plan, at the key that is to blame."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.plan import planner
from workloads.errors import InputError

HEAD = "study: refused\nmax_total_flops: 1.0e30\n"
GRID = "grid: {preset: [pico], ffn: [{kind: dense}]}\n"

# (the rest of the file, place, what is wrong and what to do)
REFUSED = {
    "vocabulary below the data's": (
        "points: [{preset: pico, model: {vocab_size: 100}}]",
        ":3: points[0].model.vocab_size = 100: with preset pico: the data has 257 token ids",
        "vocab_size is 100; choose 257 or more",
    ),
    "the same in a grid": (
        "grid: {preset: [pico], ffn: [{kind: dense}], model: {vocab_size: 256}}",
        ":3: grid.model.vocab_size = 256: with preset pico: the data has 257 token ids",
        "choose 257 or more",
    ),
    "sequences longer than the validation text": (
        "points: [{preset: pico, model: {block_size: 10_000_000}, batch_size: 1, "
        "budget: {steps: 1}}]\neval_tokens: 10_000_000",
        ":3: points[0].model.block_size = 10000000: with preset pico: the val split has",
        "lower block_size",
    ),
    "no text for validation": (
        f"{GRID}data: {{val_fraction: 1.0e-9}}",
        ":4: data.val_fraction = 1e-09: corpus python-stdlib has no document for the val split",
        "change val_fraction",
    ),
    "a micro-batch that does not divide": (
        f"{GRID}runtime: {{micro_batch_size: 5}}",
        ":4: runtime.micro_batch_size = 5: with preset pico: batch_size 16 must divide evenly",
        "change batch_size, runtime.micro_batch_size or the number of workers",
    ),
    "workers that do not divide the batch": (
        f"{GRID}resources: {{num_workers: 3}}",
        ":4: resources.num_workers = 3: with preset pico: batch_size 16 must divide evenly",
        "or the number of workers",
    ),
    "one batch size of a grid": (
        "grid:\n  preset: [pico]\n  ffn: [{kind: dense}]\n  batch_size: [16, 20]\n"
        "runtime: {micro_batch_size: 16}",
        ":6: grid.batch_size[1] = 20: with preset pico: batch_size 20 must divide evenly",
        "change batch_size",
    ),
    "a fraction beyond the dense FFN in a search": (
        "grid: {preset: [pico], ffn: [{kind: dense}, {kind: lowrank}]}\n"
        "search: {trials: 2, fraction: {uniform: [0.2, 2]}}",
        ":4: search.fraction: with preset pico: fraction must be at most 1",
        "lower it",
    ),
    "more combinations than can be planned": (
        "grid:\n  preset: [pico]\n  ffn: [{kind: dense}]\n"
        f"  seed: {[*range(400)]}\n  learning_rate: {[0.001 * n for n in range(1, 401)]}",
        ":3: grid: 160,000 combinations are too many to plan, at most 100,000",
        "shorten a list",
    ),
    "more values of a search than can be planned": (
        "grid: {preset: [pico], ffn: [{kind: blockdense}]}\nsearch: {trials: 2, "
        "rank: {integers: [1, 10000]}, nblocks: {integers: [1, 2]}}",
        ":4: search: 20,000 values of rank and nblocks are too many to plan each of them",
        "at most 10,000; narrow a range",
    ),
    "heads": (
        "points: [{preset: pico, model: {num_heads: 3}}]",
        ":3: points[0].model.num_heads = 3: with preset pico: attn_dim 32 over num_heads 3",
        "the nearest attn_dim that does is 30",
    ),
    "a warm-up longer than the run": (
        f"{GRID}optimizer: {{schedule: constant, warmup_steps: 201}}",
        ":4: optimizer.warmup_steps = 201: with preset pico: optimizer.warmup_steps 201 is more",
        "lower it, or raise the budget",
    ),
    "a guide of less than a step": (
        "grid: {preset: [pico], ffn: [{kind: lowrank, rank: 8}], guide: [null, {ratio: 0.001}]}",
        ":3: grid.guide[1].ratio = 0.001: with preset pico: guide.ratio 0.001 of 200 steps",
        "use 0.005 or more",
    ),
    "evaluations shorter than a sequence": (
        f"{GRID}eval_tokens: 100",
        ":4: eval_tokens = 100: with preset pico: eval_tokens 100 is less than one sequence",
        "raise it",
    ),
    "a kind without its sizes": (
        "points: [{preset: pico, ffn: {kind: blockdense}}]",
        ":3: points[0].ffn: kind blockdense needs rank or fraction, and nblocks",
        "add them",
    ),
    "a seed that torch does not take": (
        "points: [{preset: pico, seed: 18446744073709551616}]",
        ":3: points[0].seed = 18446744073709551616: must be less than 18446744073709551616",
        "lower it",
    ),
    "a width beyond reason": (
        "points: [{preset: pico, width: 1000000}]",
        ":3: points[0].width = 1000000: must be at most 1000",
        "lower it",
    ),
    "FLOPs beyond reason": (
        f"{GRID}budget: {{train_flops: 1.0e+308}}",
        ":4: budget: with preset pico: the budget pays for 1.1e+12 steps",
        "lower it",
    ),
    "a number of values beyond reason": (
        "grid: {preset: [pico], ffn: [{kind: lowrank}]}\n"
        "search: {trials: 1, rank: {integers: [1, 1000000000000000000000000000000]}}",
        ":4: search.rank: 1,000,000,000,000,000,000,000,000,000,000 values are too many",
        "raise the step, or narrow the range",
    ),
    "an arm that is no line of text": (
        'points: [{preset: pico, ffn: {arm: "a\\nb"}}]',
        ":3: points[0].ffn.arm = 'a\\nb': this should be one line of printable text",
        "change it",
    ),
    "a name that is too long for a folder": (
        "points: [{preset: transformer-xl, model: {num_layers: 25, rope_base: 12345.678901234567, "
        "rope_interpolation: 1.2345678901234567, norm: rmsnorm, tie_embeddings: false, "
        "bias: false, dropout: 0.12345678901234568, inverse_layer_scale: true}, learning_rate: "
        "0.0012345678901234567, ffn: {kind: blockdense, nblocks: 4, rank: 1536, "
        "keep_first_dense: false}, guide: {ratio: 0.12345678901234568, mode: fixed_steps}}]",
        ":3: points[0]: with preset transformer-xl: its id xl-rope_base=",
        "200 are the most; change less of the model, or write shorter numbers",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    rest, place, remedy = REFUSED[case]
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + rest + "\n")
    with pytest.raises(InputError) as raised:
        planner.load(path, tmp_path)
    message = str(raised.value).removeprefix(str(path))
    assert message.startswith(place) and remedy in message
    assert "\n" not in message


def test_a_study_of_a_search_alone_is_planned(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + GRID + "search: {trials: 2, learning_rate: {log: [1.0e-3, 1.0e-2]}}\n")
    study = planner.load(path, tmp_path)
    assert study.points == [] and study.texts.sources[""].size
