"""Pre-merged FFNs: the same outputs, the faster weights, never a merge that is out of date."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.workloads.premerged import KINDS, build, ffn_of, used_weights
from workloads.config.model import FFNConfig, GuideConfig
from workloads.inference.crossover import premerge
from workloads.inference.generate import generate
from workloads.nn.self_guided import add_guides, drop_guides
from workloads.nn.transformer import Transformer
from workloads.optim.adamw import AdamWConfig
from workloads.optim.build import build_optimizer
from workloads.training import checkpoint
from workloads.training.checkpoint import Progress

over_kinds = pytest.mark.parametrize("ffn", KINDS, ids=lambda ffn: ffn.kind)


@torch.no_grad()
def logits(model: Transformer, tokens: Tensor) -> Tensor:
    return model(tokens)


def text(batch: int, time: int) -> Tensor:
    return torch.randint(29, (batch, time))


# The same outputs


@pytest.mark.parametrize(
    ("ffn", "activation", "bias"),
    [
        *((ffn, "gelu", True) for ffn in KINDS),
        (KINDS[0], "swiglu", True),
        (KINDS[0], "gelu", False),
        (KINDS[-1], "swiglu", False),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_outputs_are_the_same_to_rounding(
    ffn: FFNConfig, activation: str, bias: bool, device: torch.device
) -> None:
    model = build(ffn, activation=activation, bias=bias).to(device)
    tokens = text(2, 7).to(device)
    expected = logits(model, tokens)
    greedy = generate(model, tokens.tolist(), 5)
    premerge(model, 10_000)
    found = logits(model, tokens)
    assert not torch.equal(found, expected)  # Other products made them.
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert generate(model, tokens.tolist(), 5) == greedy


@pytest.mark.parametrize(
    ("ffn", "dtype", "tolerance"),
    [*((ffn, torch.bfloat16, 0.05) for ffn in KINDS), (KINDS[0], torch.float32, 1e-5)],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_low_precision_too(
    ffn: FFNConfig, dtype: torch.dtype, tolerance: float, device: torch.device
) -> None:
    model = build(ffn).to(dtype).to(device)
    layer = ffn_of(model)
    x = torch.randn(9, 18, device=device, dtype=dtype)
    expected = layer(x).float()
    premerge(model, 9)
    assert layer.fc1.merged is not None and layer.fc1.merged.dtype == dtype
    assert (layer(x).float() - expected).abs().max() < tolerance * expected.std()


def test_autocast_does_not_round_what_is_merged() -> None:
    model, other = build().float(), None
    other = copy.deepcopy(model)
    with torch.autocast("cpu", torch.bfloat16):
        premerge(model, 9)
    premerge(other, 9)
    merged, expected = ffn_of(model).fc1.merged, ffn_of(other).fc1.merged
    assert merged is not None and expected is not None and torch.equal(merged, expected)


def test_a_guided_model_is_merged_with_its_guides() -> None:
    guide = GuideConfig(ratio=0.5)
    model = build(guide=guide)
    add_guides(model, guide)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("guide"):
            torch.nn.init.normal_(tensor, std=0.3)
        elif name.endswith("guide_weight"):
            tensor.fill_(0.4)
    tokens = text(2, 7)
    expected = logits(model, tokens)
    premerge(model, 10_000)
    assert used_weights(model, 3) == "merged"
    torch.testing.assert_close(logits(model, tokens), expected, rtol=1e-10, atol=1e-10)
    # Another share makes another matrix; and so does a model without guides.
    share = ffn_of(model).fc1.guide_weight
    share.fill_(0.1)
    changed = logits(model, tokens)
    assert (changed - expected).abs().max() > 0.01
    torch.testing.assert_close(
        changed, logits(copy.deepcopy(model), tokens), rtol=1e-10, atol=1e-10
    )
    premerge(model, 10_000)
    drop_guides(model)
    assert used_weights(model, 3) == "structured"


# The choice


@over_kinds
def test_an_ffn_goes_by_its_number_of_tokens(ffn: FFNConfig) -> None:
    model = build(ffn)
    assert used_weights(model, 1) == "structured"
    premerge(model, 12)
    for few in [(1,), (12,), (3, 4), (12, 1)]:
        assert used_weights(model, *few) == "merged"
    for many in [(13,), (2, 7), (1, 13)]:
        assert used_weights(model, *many) == "structured"
    premerge(model, 0)
    assert used_weights(model, 1) == "structured"
    assert ffn_of(model).fc1.merged is None  # It would only take memory.


# Out of date


def _optimizer_step(model: Transformer) -> None:
    optimizer = build_optimizer(model, AdamWConfig(learning_rate=0.1))
    tokens = text(2, 8)
    model(tokens[:, :-1], tokens[:, 1:]).backward()
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()


def _train(model: Transformer) -> None:
    model.train()
    _optimizer_step(model)
    model.eval()


def _load(model: Transformer) -> None:
    model.load_state_dict(build().state_dict())


def _load_by_assignment(model: Transformer) -> None:
    model.load_state_dict(build().state_dict(), assign=True)


def _load_checkpoint(model: Transformer, directory: Path) -> None:
    config = AdamWConfig(learning_rate=1.0)
    other = build()
    tensors = checkpoint.collect(other, build_optimizer(other, config))
    checkpoint.save(directory, tensors, Progress(1), "run")
    saved = checkpoint.newest(directory, "run")
    assert saved
    saved.load(model, build_optimizer(model, config))


def _write(model: Transformer) -> None:
    with torch.no_grad():
        for projection in (ffn_of(model).fc1, ffn_of(model).fc2):
            projection.get_parameter("u").mul_(2)


CHANGES: list[Callable[..., None]] = [
    _train,
    _optimizer_step,
    _load,
    _load_by_assignment,
    _load_checkpoint,
    _write,
]


@pytest.mark.parametrize(
    ("change", "copied"),
    [*((change, False) for change in CHANGES), (_train, True), (_load_by_assignment, True)],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "in a copy" * value,
)
def test_changed_weights_end_the_merge(
    change: Callable[..., None], copied: bool, tmp_path: Path
) -> None:
    model = build()
    premerge(model, 100)
    tokens = text(2, 6)
    before = logits(model, tokens)
    if copied:
        model = copy.deepcopy(model)
    change(model, *([tmp_path] if change is _load_checkpoint else []))
    found = logits(model, tokens)
    assert (found - before).abs().max() > 0.01
    fresh = build()
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(found, logits(fresh, tokens), rtol=1e-10, atol=1e-10)
    assert used_weights(model, 1) == "structured"
    assert ffn_of(model).fc1.merged is None
    premerge(model, 100)
    assert used_weights(model, 1) == "merged"
    torch.testing.assert_close(logits(model, tokens), found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_a_pass_with_gradients_ends_the_merge(training: bool) -> None:
    """A fused optimizer's step that may follow cannot be seen."""
    model = build()
    premerge(model, 100)
    model.train(training)
    model(text(1, 3)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in ffn_of(model).parameters())
    assert ffn_of(model.eval()).fc1.merged is None


def test_training_mode_ends_the_merge_without_gradients_too() -> None:
    model = build()
    premerge(model, 100)
    assert used_weights(model.train(), 1) == "structured"
    assert ffn_of(model.eval()).fc1.merged is None


def test_generating_in_training_does_not_end_the_merge() -> None:
    model = build()
    premerge(model, 100)
    model.train()
    generate(model, [[1, 2]], 3)
    assert used_weights(model.eval(), 1) == "merged"


def test_merged_weights_are_nowhere_saved() -> None:
    model = build()
    optimizer = build_optimizer(model, AdamWConfig(learning_rate=1.0))
    states = []
    for tokens in (0, 100):
        premerge(model, tokens)
        states.append((set(model.state_dict()), set(checkpoint.collect(model, optimizer))))
    assert states[0] == states[1]
    assert not any("merged" in name for names in states[0] for name in names)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert ffn_of(other).fc1.merged is None
        assert used_weights(other, 1) == "structured"
    assert used_weights(model, 1) == "merged"


def test_versions_of_a_copy_do_not_pass_for_the_originals() -> None:
    projection = ffn_of(build()).fc1
    x = torch.randn(1, 18, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(9):
            for tensor in (*projection.parameters(), projection.guide_weight):
                tensor.mul_(1)
        projection.premerge(100)
        other = copy.deepcopy(projection)
        for name in ("u", "v", "guide_weight"):
            kept, copied = getattr(projection, name), getattr(other, name)
            while copied._version < kept._version:
                copied.mul_(1 if name == "guide_weight" else 1.1)
            assert copied._version == kept._version
        torch.testing.assert_close(other(x), other.product(x), rtol=0, atol=0)
