"""Decoding with a cache against reading the whole text anew for every token."""

import math
from collections import Counter
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.workloads.nn.test_transformer import randomized
from workloads.config.model import FFNConfig, GuideConfig, ModelConfig
from workloads.errors import InputError
from workloads.inference.generate import generate, new_cache, next_logits
from workloads.nn.kv_cache import KVCache
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer

# Of different lengths, one of a single token.
PROMPTS = [[3, 1, 4, 1, 5], [9], [2, 6, 5, 3, 5, 8, 9], [7, 9, 3]]
NEW = 6
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rope interpolated": {"rope_interpolation": 2.5, "rope_base": 77.0},
    "rope scaled": {"rope_base": 77.0, "rope_scaling": {"factor": 5, "original_block_size": 40}},
    "absolute": {"position": "absolute"},
    "absolute with odd heads": {"position": "absolute", "attn_dim": 20, "num_kv_heads": 2},
    "two key heads": {"num_kv_heads": 2},
    "one key head": {"num_kv_heads": 1, "inverse_layer_scale": True},
    "swiglu": {"activation": "swiglu", "bias": False},
    "rmsnorm": {"norm": "rmsnorm"},
    "untied": {"tie_embeddings": False},
    "inverse layer scale": {"inverse_layer_scale": True},
    "dropout": {"dropout": 0.5},
    "lowrank": {"ffn": FFNConfig(kind="lowrank", rank=5)},
    "blockdense": {"ffn": FFNConfig(kind="blockdense", rank=6, nblocks=3)},
    "all": {
        "ffn": FFNConfig(kind="blockshuffle", nblocks=3, keep_first_dense=False),
        "num_kv_heads": 2,
        "activation": "swiglu",
        "norm": "rmsnorm",
        "tie_embeddings": False,
        "bias": False,
        "rope_interpolation": 3.0,
    },
}
over_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def shape(**options: Any) -> ModelConfig:
    """Odd sizes throughout, with a head dimension of 6 (5 at an attn_dim of 20)."""
    sizes: dict[str, Any] = {
        "vocab_size": 29,
        "block_size": 13,
        "num_layers": 3,
        "hidden_dim": 21,
        "attn_dim": 24,
        "ffn_dim": 45,
        "num_heads": 4,
    }
    return ModelConfig.model_validate(sizes | options)


def build(**options: Any) -> Transformer:
    """In float64, and different texts are followed by different tokens."""
    model = Transformer(shape(**options))
    randomized(model)
    with torch.no_grad():
        # Small embeddings: or a token is followed by itself, because it is also its own output.
        model.wte.weight /= 8
        for name, parameter in model.named_parameters():
            if "ln" in name and name.endswith("weight"):
                parameter += 1
            elif name == "ln_f.bias":
                parameter /= 8
    return model.eval()


def anew(model: Transformer, prompt: list[int]) -> tuple[list[int], Tensor]:
    """NEW greedy tokens and the logits (NEW, vocab_size) behind them, without a cache."""
    tokens, logits = list(prompt), []
    with torch.no_grad():
        for _ in range(NEW):
            logits.append(model(torch.tensor([tokens], device=model.device))[0, -1])
            tokens.append(int(logits[-1].argmax()))
    return tokens[len(prompt) :], torch.stack(logits)


@torch.no_grad()
def kept(model: Transformer, prompts: list[list[int]]) -> tuple[list[list[int]], Tensor]:
    """As `anew` for a batch, with a cache; logits (batch, NEW, vocab_size)."""
    device, longest = model.device, max(map(len, prompts))
    cache = new_cache(model, len(prompts), longest + NEW)
    # Padding of any kind must not matter.
    padded = [p + [(11 * p[0]) % 29] * (longest - len(p)) for p in prompts]
    tokens = torch.tensor(padded, device=device)
    counts = torch.tensor([len(p) for p in prompts], device=device)
    logits = []
    for _ in range(NEW):
        logits.append(next_logits(model, tokens, counts, cache))
        tokens, counts = logits[-1].argmax(-1)[:, None], torch.ones_like(counts)
    found = torch.stack(logits, dim=1)
    return found.argmax(-1).tolist(), found


@over_options
def test_each_row_is_what_the_model_says_of_it_alone(
    options: dict[str, Any], device: torch.device
) -> None:
    model = build(**options).to(device)
    alone = [anew(model, prompt) for prompt in PROMPTS]
    tokens, logits = kept(model, PROMPTS)
    assert tokens == [expected for expected, _ in alone] == generate(model, PROMPTS, NEW)
    assert len({tuple(row) for row in tokens}) > 1
    for found, (_, expected) in zip(logits, alone, strict=True):
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for prompt, (expected, _) in zip(PROMPTS, alone, strict=True):
        assert generate(model, [prompt], NEW) == [expected]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [OPTIONS["all"], OPTIONS["absolute"]], ids=["all", "absolute"])
def test_low_precision_gives_the_logits_to_its_rounding(
    options: dict[str, Any], dtype: torch.dtype, device: torch.device
) -> None:
    model = build(**options).to(dtype).to(device)
    found, expected = _first_two(model)
    scale = expected.float().std()
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.1}[dtype]
    assert (found.float() - expected.float()).abs().max() < tolerance * scale
    assert new_cache(model, 1, 1).keys.dtype == dtype


@torch.no_grad()
def _first_two(model: Transformer) -> tuple[Tensor, Tensor]:
    """The logits after PROMPTS[2]'s last two tokens, with a cache and without one."""
    text = torch.tensor([PROMPTS[2]], device=model.device)
    cache, one = new_cache(model, 1, 7), torch.tensor([1], device=model.device)
    first = next_logits(model, text[:, :6], 6 * one, cache)
    second = next_logits(model, text[:, 6:], one, cache)
    return torch.stack([first, second], dim=1)[0], model(text)[0, -2:]


def test_under_autocast_the_cache_is_in_its_type() -> None:
    model = build(num_kv_heads=2).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert new_cache(model, 2, 3).keys.dtype == torch.bfloat16
        found, expected = _first_two(model)
        assert len(generate(model, PROMPTS, 2)) == 4
    assert (found - expected).abs().max() < 0.1 * expected.float().std()


def test_text_may_come_in_pieces_of_different_lengths() -> None:
    model = build(num_kv_heads=2)
    cache = new_cache(model, 2, 13)
    pieces = [
        ([[3, 1, 4], [1, 5, 0]], [3, 2]),
        ([[9, 2, 6], [5, 3, 5]], [1, 3]),
        ([[8], [9]], [1, 1]),
    ]
    rows: list[list[int]] = [[], []]
    with torch.no_grad():
        for tokens, counts in pieces:
            found = next_logits(model, torch.tensor(tokens), torch.tensor(counts), cache)
            for row, piece, count, logits in zip(rows, tokens, counts, found, strict=True):
                row += piece[:count]
                expected = model(torch.tensor([row]))[0, -1]
                torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)


def test_guides_and_their_share_are_part_of_the_model() -> None:
    guide = GuideConfig(ratio=0.5)
    model = build(ffn=FFNConfig(kind="lowrank", rank=5), guide=guide)
    add_guides(model, guide)
    for name, parameter in model.named_parameters():
        if name.endswith("guide"):
            torch.nn.init.normal_(parameter, std=0.3)
    for name, buffer in model.named_buffers():
        if name.endswith("guide_weight"):
            buffer.fill_(0.4)
    assert generate(model, PROMPTS, NEW) == [anew(model, prompt)[0] for prompt in PROMPTS]


def test_the_cache_has_the_size_of_the_key_heads() -> None:
    config = shape(num_kv_heads=2)
    cache = KVCache(config, batch=5, max_time=7, dtype=torch.bfloat16)
    assert cache.keys.shape == cache.values.shape == (3, 5, 2, 7, 6)
    assert cache.nbytes == 2 * 3 * 5 * 2 * 7 * 6 * 2


def test_a_block_can_be_filled_to_its_end_and_no_further() -> None:
    model = build()
    assert generate(model, [[1]], 12)[0][:NEW] == anew(model, [1])[0]
    assert len(generate(model, [[1] * 12], 1)[0]) == 1
    with pytest.raises(InputError, match=r"prompt 1 has 8 tokens, with 6 .* 14: .* 13; shorten"):
        generate(model, [[1], [1] * 8], 6)


def test_every_module_keeps_its_mode() -> None:
    model = build(dropout=0.5).train()
    model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    assert generate(model, PROMPTS, 2) == generate(model.eval(), PROMPTS, 2)
    model.train().layers[1].eval()
    generate(model, PROMPTS, 1)
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())


# Sampling


def softmax_of(model: Transformer, prompt: list[int], temperature: float) -> list[float]:
    with torch.no_grad():
        return (model(torch.tensor([prompt]))[0, -1] / temperature).softmax(-1).tolist()


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.4, None), (3.0, 4)])
def test_draws_follow_the_softmax(temperature: float, top_k: int | None) -> None:
    model = build()
    with torch.no_grad():
        model.wte.weight /= 4  # so that many tokens have a share
    # The second token counts, so that the draw depends on what the cache holds.
    prompt, draws = [4, 2], 4000
    drawn = generate(model, [prompt] * draws, 1, temperature=temperature, top_k=top_k, seed=7)
    shares = torch.tensor(softmax_of(model, prompt, temperature), dtype=torch.float64)
    if top_k:
        shares[shares.argsort(descending=True)[top_k:]] = 0
        shares /= shares.sum()
    counts = Counter(token for (token,) in drawn)
    assert set(counts) <= set(shares.nonzero().flatten().tolist())
    assert len(counts) > 3
    # Rare tokens are taken together: the chi-squared test wants 5 expected of each.
    often = [t for t in range(29) if shares[t] * draws >= 5]
    observed = [counts[t] for t in often]
    expected = [float(shares[t] * draws) for t in often]
    rest = draws - sum(expected)
    if rest > 5:
        observed, expected = [*observed, draws - sum(observed)], [*expected, rest]
    else:
        expected = [e * sum(observed) / sum(expected) for e in expected]
    assert scipy.stats.chisquare(observed, expected).pvalue > 0.001


def test_later_draws_follow_the_softmax_after_earlier_ones() -> None:
    model = build()
    with torch.no_grad():
        model.wte.weight /= 2
    pairs = generate(model, [[4, 2]] * 3000, 2, temperature=1.0, seed=1)
    first = Counter(a for a, _ in pairs).most_common(1)[0][0]
    second = Counter(b for a, b in pairs if a == first)
    shares = softmax_of(model, [4, 2, first], 1.0)
    total = second.total()
    assert total > 100
    for token, count in second.most_common(3):
        spread = math.sqrt(total * shares[token] * (1 - shares[token]))
        assert abs(count - total * shares[token]) < 4 * spread


def test_a_seed_repeats_and_leaves_other_generators_alone() -> None:
    model = build()

    def sample(seed: int) -> list[list[int]]:
        return generate(model, PROMPTS, NEW, temperature=2.0, seed=seed)

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = sample(0)
    assert torch.equal(torch.rand(3), expected)
    assert sample(0) == first != sample(1)
    assert generate(model, [[4]] * 9, NEW, temperature=2.0)[0] != first[0]


def test_limits_of_temperature_and_top_k_are_greedy() -> None:
    model = build()
    greedy = generate(model, PROMPTS, NEW)
    assert generate(model, PROMPTS, NEW, temperature=1e-9) == greedy
    assert generate(model, PROMPTS, NEW, temperature=5.0, top_k=1) == greedy
    assert generate(model, PROMPTS, NEW, top_k=3) == greedy


# What it refuses


@pytest.mark.parametrize(
    ("prompts", "new", "options", "message"),
    [
        ([[1], []], 1, {}, "prompt 1 is empty; give at least one token"),
        ([[1, 29]], 1, {}, "prompt 0 has token id 29, .* 0 to 28; encode it"),
        ([[1, -1]], 1, {}, "prompt 0 has token id -1, .* 0 to 28; encode it"),
        ([[1]], 0, {}, "max_new_tokens is 0; ask for 1 or more"),
        ([[1]], 1, {"temperature": -0.5}, "temperature is -0.5; give 0"),
        ([[1]], 1, {"temperature": math.nan}, "temperature is nan; give 0"),
        ([[1]], 1, {"temperature": math.inf}, "temperature is inf; give 0"),
        ([[1]], 1, {"temperature": 1, "top_k": 0}, "top_k is 0; give 1 to 29"),
        ([[1]], 1, {"temperature": 1, "top_k": 30}, "top_k is 30; give 1 to 29"),
    ],
)
def test_mistakes_are_named_with_their_value_and_remedy(
    prompts: list[list[int]], new: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        generate(Transformer(shape()), prompts, new, **options)


def test_no_prompts_give_nothing() -> None:
    assert generate(Transformer(shape()), [], 3) == []
