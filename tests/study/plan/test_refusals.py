"""What training would refuse is refused by the plan, at the key that is to blame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from study.plan import planner
from study.plan.cautions import cautions, require_trainable
from tests.workloads.data.formats.files import PUBLIC, chunk, own_dataset
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
    "a vocabulary below the data's that the file does not give": (
        f"{GRID}data: {{path: FLAT}}",
        ":4: data: with preset pico: the data has 9001 token ids and the model's vocab_size is 257",
        "choose 9001 or more: model: {vocab_size: 9001}",
    ),
    "the same of an evaluation set": (
        f"{GRID}eval_sets: {{wiki: {{path: FLAT}}}}",
        ":4: eval_sets.wiki: with preset pico: eval_sets.wiki has 9001 token ids",
        "choose 9001 or more: model: {vocab_size: 9001}",
    ),
    "an evaluation set of a corpus that is not there": (
        f"{GRID}eval_sets: {{rp: {{source: slimpajama, tokenizer: TOKENIZER}}}}",
        ":4: eval_sets.rp: with preset pico: eval_sets.rp has 512 token ids",
        "choose 512 or more",
    ),
    "a model beside the grid": (
        f"{GRID}model: {{vocab_size: 4096}}",
        ":4: model: model belongs under grid, or to a row of points",
        "move it there",
    ),
    "an empty path": (
        f"{GRID}data: {{path: ''}}",
        ":4: data.path = '': ",
        "this should be the path of token data; name it",
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
    rest = rest.replace("FLAT", str(tmp_path)).replace("TOKENIZER", str(PUBLIC / "tokenizer.json"))
    for split in ("train", "val"):
        np.array([9000, *range(200)], "<u2").tofile(tmp_path / f"{split}.bin")
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


UNTRAINABLE = {
    "an evaluation set of another vocabulary": (
        "data: {path: BYTES}\neval_sets: {other: {path: OTHER}}",
        ":5: eval_sets: eval_sets.other has 200 token ids and data has 257",
    ),
    "an evaluation set with the name of a source": (
        "data: {sources: {a: {path: BYTES}}, mixture: {a: 1}}\neval_sets: {a: {path: BYTES}}",
        ":5: eval_sets: eval_sets.a: a source has this name",
    ),
    "a share that is too small": (
        "data: {sources: {a: {path: BYTES}, b: {path: BYTES}}, mixture: {a: 1, b: 1.0e-12}}",
        ":4: data: mixture: b has a share of 1e-12",
    ),
    "rows that a dataset has not": (
        "data: {path: BYTES, rows: 9}",
        ":4: data: BYTES has no rows, as its manifest says; leave `rows` out",
    ),
    "a tokenizer that is not there": (
        "data: {path: BYTES, tokenizer: no.json}",
        ":4: data: there is no tokenizer at no.json",
    ),
    "a tokenizer that the tokens were not made with": (
        "data: {path: BYTES, tokenizer: TOKENIZER}",
        ":4: data: BYTES was made with another tokenizer than",
    ),
}


@pytest.mark.parametrize("case", UNTRAINABLE)
def test_nothing_is_trained_on_texts_whose_losses_say_nothing(case: str, tmp_path: Path) -> None:
    rest, said = UNTRAINABLE[case]
    places = {"BYTES": own_dataset(tmp_path / "bytes", range(200), range(200))}
    places["OTHER"] = own_dataset(tmp_path / "other", range(150), range(200), vocab_size=200)
    places["TOKENIZER"] = PUBLIC / "tokenizer.json"
    for name, place in places.items():
        rest, said = rest.replace(name, str(place)), said.replace(name, str(place))
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + GRID + rest + "\n")
    study = planner.load(path, tmp_path)  # what was recorded is read
    with pytest.raises(InputError) as raised:
        require_trainable(study)
    assert str(raised.value).startswith(f"{path}{said}")


def test_padding_that_is_read_as_text_is_cautioned_against(tmp_path: Path) -> None:
    for name in ("train", "val"):
        chunk(tmp_path / f"{name}_0000000000.bin", [*range(1, 200), *[0] * 300])
    path = tmp_path / "study.yaml"
    path.write_text(f"{HEAD}{GRID}data: {{path: {tmp_path}}}\neval_tokens: 128\n")
    found = [each for each in cautions(planner.load(path, tmp_path)) if "they are read as" in each]
    assert [each.split()[1] for each in found] == [
        f"{tmp_path}/{name}_0000000000.bin" for name in ("train", "val")
    ]
