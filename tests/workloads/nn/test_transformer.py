"""The transformer against a second one, written in NumPy from its state dict, and its parts."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from torch import Tensor, nn

from kernels.rotary import rotary
from workloads.config.model import FFNConfig, ModelConfig
from workloads.nn.transformer import Attention, Transformer, rope_rotation

STRUCTURES = [
    FFNConfig(),
    FFNConfig(kind="lowrank", rank=5),
    FFNConfig(kind="blockdense", rank=6, nblocks=3),
    FFNConfig(kind="blockshuffle", nblocks=3),
    FFNConfig(kind="blockshuffle", nblocks=9, keep_first_dense=False),
]
over_structures = pytest.mark.parametrize("ffn", STRUCTURES, ids=lambda ffn: ffn.kind)

Array = np.ndarray


def config(ffn: FFNConfig, block_size: int = 13) -> ModelConfig:
    """Odd sizes throughout; a head dimension of 6."""
    return ModelConfig(
        vocab_size=29,
        block_size=block_size,
        num_layers=3,
        hidden_dim=18,
        ffn_dim=45,
        num_heads=3,
        rope_base=500.0,
        ffn=ffn,
    )


def randomized(model: nn.Module) -> nn.Module:
    """In float64, with no parameter at a special value such as a bias of 0."""
    for parameter in model.double().parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def tokens_of(shape: ModelConfig, batch: int = 2, time: int | None = None) -> Tensor:
    return torch.randint(shape.vocab_size, (batch, time or shape.block_size))


# The model, once more


def reference_logits(shape: ModelConfig, state: dict[str, Array], tokens: Array) -> Array:
    x = state["wte.weight"][tokens]
    for layer in range(shape.num_layers):
        part = {
            name.removeprefix(f"layers.{layer}."): value
            for name, value in state.items()
            if name.startswith(f"layers.{layer}.")
        }
        normed = reference_norm(x, part["ln1.weight"], part["ln1.bias"])
        x = x + reference_attention(shape, part, normed)
        normed = reference_norm(x, part["ln2.weight"], part["ln2.bias"])
        inner = normed @ reference_matrix(part, "mlp.fc1").T + part["mlp.fc1.bias"]
        active = inner * scipy.special.ndtr(inner)
        x = x + active @ reference_matrix(part, "mlp.fc2").T + part["mlp.fc2.bias"]
    return reference_norm(x, state["ln_f.weight"], state["ln_f.bias"]) @ state["wte.weight"].T


def reference_norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def reference_attention(shape: ModelConfig, part: dict[str, Array], x: Array) -> Array:
    """Query by query, over the keys that it may see."""
    hidden, size = shape.hidden_dim, shape.head_dim
    qkv = x @ part["attention.qkv_linear.weight"].T + part["attention.qkv_linear.bias"]
    mixed = np.zeros_like(x)
    for sequence in range(len(x)):
        for head in range(shape.num_heads):
            place = slice(head * size, (head + 1) * size)
            query = turned(qkv[sequence, :, :hidden][:, place], shape.rope_base)
            key = turned(qkv[sequence, :, hidden : 2 * hidden][:, place], shape.rope_base)
            value = qkv[sequence, :, 2 * hidden :][:, place]
            for time in range(x.shape[1]):
                scores = np.array([query[time] @ key[at] for at in range(time + 1)])
                shares = scipy.special.softmax(scores / math.sqrt(size))
                mixed[sequence, time, place] = shares @ value[: time + 1]
    return mixed @ part["attention.o_linear.weight"].T + part["attention.o_linear.bias"]


def turned(x: Array, base: float) -> Array:
    """RoPE of x (time, head_dim): pair (i, i + head_dim/2) is a complex number that turns."""
    half = x.shape[1] // 2
    angle = np.arange(len(x))[:, None] * base ** (-np.arange(half) / half)
    pairs = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angle)
    return np.concatenate([pairs.real, pairs.imag], axis=1)


def reference_matrix(part: dict[str, Array], name: str) -> Array:
    """The (m, n) matrix of a projection, as a product of explicit matrices."""
    if f"{name}.weight" in part:
        return part[f"{name}.weight"]
    u, v = part[f"{name}.u"], part[f"{name}.v"]
    if v.ndim == 2:  # lowrank
        return u @ v
    if u.ndim == 2:  # blockdense
        return u @ scipy.linalg.block_diag(*v)
    blocks = len(v)
    gather = shuffle(len(v) * v.shape[1], blocks)
    scatter = shuffle(len(u) * u.shape[1], blocks)
    return scatter.T @ scipy.linalg.block_diag(*u) @ gather @ scipy.linalg.block_diag(*v)


def shuffle(size: int, blocks: int) -> Array:
    """The permutation matrix that takes entry r B + l to place r of block l."""
    matrix = np.zeros((size, size))
    for index in range(size):
        number, block = divmod(index, blocks)
        matrix[block * (size // blocks) + number, index] = 1
    return matrix


@over_structures
def test_logits_are_those_of_the_second_implementation(
    ffn: FFNConfig, device: torch.device
) -> None:
    shape = config(ffn)
    model = randomized(Transformer(shape))
    tokens = tokens_of(shape)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    expected = torch.from_numpy(reference_logits(shape, state, tokens.numpy()))
    logits = model.to(device)(tokens.to(device))
    assert expected.std() > 0.1
    # The rotation's sines and cosines are kept in float32.
    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-5, atol=1e-6)


@over_structures
def test_the_gradient_is_the_slope_of_the_second_implementation(ffn: FFNConfig) -> None:
    shape = config(ffn, block_size=5)
    model = randomized(Transformer(shape))
    tokens = tokens_of(shape)
    weight = torch.randn(*tokens.shape, shape.vocab_size, dtype=torch.float64)
    (model(tokens) * weight).sum().backward()
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    slope = 0.0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        slope += float((parameter.grad * direction[name]).sum())

    def value(step: float) -> float:
        state = {n: (p + step * direction[n]).detach().numpy() for n, p in model.named_parameters()}
        return float((reference_logits(shape, state, tokens.numpy()) * weight.numpy()).sum())

    step = 1e-5
    assert slope == pytest.approx((value(step) - value(-step)) / (2 * step), rel=1e-4)


# Its parts


@pytest.mark.parametrize(("time", "size", "base"), [(7, 6, 10_000.0), (1024, 128, 10_000.0)])
def test_rotation_is_a_complex_phase(time: int, size: int, base: float) -> None:
    x = torch.randn(3, time, size, dtype=torch.float64)
    found = rotary(x, rope_rotation(time, size, base).double())
    expected = np.stack([turned(row, base) for row in x.numpy()])
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-6)


def test_rotation_depends_on_the_distance_alone() -> None:
    rotation = rope_rotation(40, 10, 10_000.0).double()
    query, key = torch.randn(2, 1, 10, dtype=torch.float64)
    turned_query = rotary(query.expand(40, 10), rotation)
    turned_key = rotary(key.expand(40, 10), rotation)
    scores = turned_query @ turned_key.T
    for distance in range(-39, 40):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    torch.testing.assert_close(scores[3, 3], (query @ key.T).squeeze(), rtol=0, atol=1e-5)
    assert (scores[0] - scores[0, 0]).abs().max() > 0.1


def test_attention_and_its_gradient_are_those_of_a_loop(device: torch.device) -> None:
    shape = config(FFNConfig(), block_size=7)
    attention = randomized(Attention(shape, layer=0))
    x = torch.randn(2, 7, 18, dtype=torch.float64)
    rotation = rope_rotation(7, shape.head_dim, shape.rope_base).double()
    weights = {f"attention.{n}": p.detach().numpy() for n, p in attention.named_parameters()}
    expected = reference_attention(shape, weights, x.numpy())
    attention.to(device)
    x = x.to(device).requires_grad_()
    y = attention(x, rotation.to(device))
    torch.testing.assert_close(y.detach().cpu(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)

    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    assert x.grad is not None
    direction, step = torch.randn_like(x), 1e-5
    ahead, behind = (
        reference_attention(shape, weights, (x + sign * step * direction).detach().cpu().numpy())
        for sign in (1, -1)
    )
    slope = float(((ahead - behind) * weight.cpu().numpy()).sum() / (2 * step))
    assert float((x.grad * direction).sum()) == pytest.approx(slope, rel=1e-4)


def test_the_loss_is_the_mean_negative_log_likelihood_in_nats() -> None:
    shape = config(STRUCTURES[0])
    model = randomized(Transformer(shape)).double()
    tokens = tokens_of(shape, batch=2)
    targets = tokens.roll(-1, 1)
    shares = scipy.special.softmax(model(tokens).detach().numpy(), axis=-1)
    picked = np.take_along_axis(shares, targets.numpy()[..., None], axis=-1)
    expected = -np.log(picked).mean()
    assert float(model(tokens, targets).detach()) == pytest.approx(expected, rel=1e-6)
    targets[:, -3:] = -100
    expected = -np.log(picked[:, :-3]).sum()
    assert float(model(tokens, targets, "sum").detach()) == pytest.approx(expected, rel=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        low = model.float()(tokens, targets, "sum")
    assert low.dtype == torch.float32
    assert float(low.detach()) == pytest.approx(expected, rel=0.02)


# What it keeps


@over_structures
def test_later_tokens_do_not_change_earlier_logits(ffn: FFNConfig) -> None:
    shape = config(ffn)
    model = randomized(Transformer(shape))
    tokens = tokens_of(shape, batch=1)
    logits = model(tokens)
    for time in (1, 6, 12):
        changed = tokens.clone()
        changed[:, time:] = (changed[:, time:] + 1) % shape.vocab_size
        after = model(changed)
        torch.testing.assert_close(after[:, :time], logits[:, :time], rtol=0, atol=1e-12)
        assert (after - logits)[:, time:].abs().max() > 0.01
        # A shorter text is the beginning of a longer one.
        torch.testing.assert_close(
            model(tokens[:, :time]), logits[:, :time], rtol=1e-12, atol=1e-12
        )


def test_embeddings_are_tied() -> None:
    shape = config(FFNConfig())
    model = Transformer(shape).double()
    tokens = torch.zeros(1, 4, dtype=torch.long)
    before = model(tokens).detach()
    with torch.no_grad():
        model.wte.weight[5] *= 2  # A token that is not in the text: an output weight alone.
    after = model(tokens).detach()
    torch.testing.assert_close(after[..., 5], 2 * before[..., 5])
    assert torch.equal(after[..., :5], before[..., :5])
    assert torch.equal(after[..., 6:], before[..., 6:])


@pytest.mark.parametrize("keep", [True, False])
def test_the_first_layer_stays_dense(keep: bool) -> None:
    ffn = FFNConfig(kind="lowrank", rank=5, keep_first_dense=keep)
    model = Transformer(config(ffn))
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    for layer in range(3):
        dense = keep and layer == 0
        for name, size in (("fc1", (45, 18)), ("fc2", (18, 45))):
            prefix = f"layers.{layer}.mlp.{name}"
            assert shapes.get(f"{prefix}.weight") == (size if dense else None)
            assert shapes.get(f"{prefix}.u") == (None if dense else (size[0], 5))
            assert shapes.get(f"{prefix}.v") == (None if dense else (5, size[1]))


def test_initial_weights_are_normal_with_std_0_02_and_biases_zero() -> None:
    shape = ModelConfig(
        vocab_size=257, block_size=8, num_layers=2, hidden_dim=64, ffn_dim=256, num_heads=4
    )
    for name, parameter in Transformer(shape).requires_grad_(False).named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif ".ln" in name or name.startswith("ln"):
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            assert abs(float(parameter.mean())) < 5 * 0.02 / math.sqrt(parameter.numel()), name
            assert float(parameter.std()) == pytest.approx(0.02, rel=0.05), name
    assert not torch.equal(Transformer(shape).wte.weight, Transformer(shape).wte.weight)
