"""Attention against loops in float64: grouped queries, masks, decoding, gradients, flash-attn."""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from kernels import attention as module
from kernels import switches
from kernels.attention import attention, reference

# (batch, heads, kv_heads, time, slots, head_dim)
CAUSAL = [
    (2, 4, 4, 16, 16, 8),
    (2, 4, 2, 17, 17, 5),
    (1, 6, 1, 123, 123, 3),
    (3, 3, 3, 2, 2, 7),
    (2, 4, 2, 5, 9, 8),  # the last 5 of 9 tokens
    (2, 4, 1, 1, 33, 16),  # one more token
]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}


def one_by_one(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, scale: float) -> Tensor:
    """Compute each query of each head by itself, over the keys it sees (batch, time, slots)."""
    batch, heads, time, _ = query.shape
    group = heads // key.shape[1]
    rows = []
    for b in range(batch):
        for h in range(heads):
            for t in range(time):
                own = seen[b, t].nonzero()[:, 0]
                keys, values = key[b, h // group, own], value[b, h // group, own]
                weights = torch.exp(scale * (keys @ query[b, h, t]))
                rows.append((weights[:, None] * values).sum(0) / weights.sum())
    return torch.stack(rows).reshape(batch, heads, time, -1)


def draw(shape: tuple[int, ...]) -> tuple[list[Tensor], Tensor]:
    """Draw query, key and value, and the gradient by the result, in float64."""
    batch, heads, kv_heads, time, slots, dim = shape
    sizes = [(heads, time), (kv_heads, slots), (kv_heads, slots)]
    parts = [torch.randn(batch, *size, dim, dtype=torch.float64) for size in sizes]
    return parts, torch.randn(batch, heads, time, dim, dtype=torch.float64)


def last_sees_all(batch: int, time: int, slots: int) -> Tensor:
    ahead = slots - time
    seen = [[j <= i + ahead for j in range(slots)] for i in range(time)]
    return torch.tensor(seen).expand(batch, -1, -1)


def with_gradients(y: Tensor, parts: list[Tensor], direction: Tensor) -> list[Tensor]:
    grads = torch.autograd.grad(y, parts, direction.to(y))
    return [one.detach().cpu().double() for one in (y, *grads)]


def check(shape: tuple[int, ...], seen: Tensor, dtype: torch.dtype, device: torch.device) -> None:
    """Compare results and gradients of the function and its reference with the loops."""
    parts, direction = draw(shape)
    is_masked = not torch.equal(seen, last_sees_all(shape[0], shape[3], shape[4]))
    mask = seen[:, None].to(device) if is_masked else None
    exact = [part.to(dtype).double().requires_grad_() for part in parts]
    wanted = with_gradients(one_by_one(*exact, seen=seen, scale=0.3), exact, direction)
    for function in (attention, reference):
        ours = [part.to(device, dtype).requires_grad_() for part in parts]
        y = function(*ours, mask=mask, scale=0.3)
        assert y.dtype == dtype
        found = with_gradients(y, ours, direction)
        for one, other in zip(found, wanted, strict=True):
            assert one.shape == other.shape
            assert (one - other).norm() <= TOLERANCE[dtype] * other.norm()


@pytest.mark.parametrize("shape", CAUSAL)
def test_causal(shape: tuple[int, ...], device: torch.device) -> None:
    check(shape, last_sees_all(shape[0], shape[3], shape[4]), torch.float32, device)


@pytest.mark.parametrize("shape", CAUSAL)
def test_masked(shape: tuple[int, ...], device: torch.device) -> None:
    batch, _, _, time, slots, _ = shape
    seen = torch.rand(batch, time, slots) < 0.5
    seen[:, :, 0] = True
    check(shape, seen, torch.float32, device)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", CAUSAL)
def test_half_precision_on_cuda(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    seen = last_sees_all(shape[0], shape[3], shape[4])
    check(shape, seen, dtype, torch.device("cuda"))


def test_decoding_gives_what_the_whole_gives(device: torch.device) -> None:
    """Token by token and in pieces over a cache, as one pass over all tokens."""
    (query, key, value), _ = draw((2, 4, 2, 13, 13, 8))
    query, key, value = (part.to(device, torch.float32) for part in (query, key, value))
    whole = attention(query, key, value, scale=0.3)
    ends = [5, 6, 7, 11, 13]
    pieces = [
        attention(query[:, :, start:end], key[:, :, :end], value[:, :, :end], scale=0.3)
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole, rtol=2e-6, atol=2e-6)


def test_layouts_of_the_model(device: torch.device) -> None:
    """Heads cut from one projection have other strides, and the same numbers."""
    batch, time, heads, dim = 2, 11, 4, 8
    joined = torch.randn(batch, time, 3 * heads * dim, device=device)
    parts = [
        p.unflatten(-1, (heads, dim)).transpose(1, 2) for p in joined.split(heads * dim, dim=-1)
    ]
    strided = attention(*parts, scale=0.3)
    plain = attention(*(part.contiguous() for part in parts), scale=0.3)
    torch.testing.assert_close(strided, plain, rtol=2e-6, atol=2e-6)


def test_of_one_token_it_is_the_value(device: torch.device) -> None:
    query, key, value = torch.randn(3, 2, 4, 1, 8, device=device)
    torch.testing.assert_close(attention(query, key, value, scale=0.3), value)


@pytest.mark.parametrize("shape", [(0, 4, 2, 5, 5, 8), (2, 4, 2, 0, 0, 8)])
def test_nothing_to_attend_to(shape: tuple[int, ...], device: torch.device) -> None:
    parts, _ = draw(shape)
    ours = [part.to(device, torch.float32).requires_grad_() for part in parts]
    y = attention(*ours, scale=0.3)
    assert y.shape == (shape[0], 4, shape[3], 8)
    y.sum().backward()


def test_the_switch_takes_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "reference", lambda *_, **__: "reference")
    parts, _ = draw((1, 2, 2, 3, 3, 4))
    assert isinstance(attention(*parts, scale=1.0), Tensor)
    with switches.reference("attention"):
        assert attention(*parts, scale=1.0) == "reference"


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 4, 3, 5, 5, 8), "4 heads cannot share 3 keys; give a divisor of 4"),
        ((1, 4, 4, 5, 3, 8), "5 causal queries but 3 keys"),
    ],
)
def test_what_cannot_be_is_refused(shape: tuple[int, ...], words: str) -> None:
    parts, _ = draw(shape)
    with pytest.raises(ValueError, match=words):
        attention(*parts, scale=0.3)


@pytest.mark.parametrize("shape", [(2, 4, 2, 9, 9, 8), (2, 4, 2, 3, 9, 8)])
def test_compiles_whole(shape: tuple[int, ...], device: torch.device) -> None:
    parts, _ = draw(shape)
    ours = [part.to(device, torch.float32) for part in parts]
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*ours, scale=0.3), attention(*ours, scale=0.3))


def stand_in() -> ModuleType:
    """Make a module with flash-attn's documented function, computed by `one_by_one`."""
    made = ModuleType("flash_attn")

    def flash_attn_func(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
    ) -> Tensor:
        assert causal and not dropout_p and softmax_scale is not None
        batch, time, slots = len(q), q.shape[1], k.shape[1]
        heads_first = [part.transpose(1, 2).double() for part in (q, k, v)]
        seen = last_sees_all(batch, time, slots)
        y = one_by_one(*heads_first, seen=seen, scale=softmax_scale)
        return y.transpose(1, 2).to(q.dtype)

    vars(made)["flash_attn_func"] = flash_attn_func
    return made


@pytest.mark.parametrize("shape", CAUSAL)
def test_flash_is_called_as_it_wants(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layout, scale, groups and the causal mask, with a stand-in that needs no GPU."""
    monkeypatch.setitem(sys.modules, "flash_attn", stand_in())
    parts, _ = draw(shape)
    wanted = attention(*parts, scale=0.3)
    monkeypatch.setattr(module, "_suits_flash", lambda *_: True)
    torch.testing.assert_close(attention(*parts, scale=0.3), wanted)
    mask = last_sees_all(shape[0], shape[3], shape[4])[:, None]
    monkeypatch.delitem(sys.modules, "flash_attn")  # A mask of one's own never goes there.
    torch.testing.assert_close(attention(*parts, mask=mask, scale=0.3), wanted)


def test_flash_is_for_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAS_FLASH", True)
    monkeypatch.setitem(sys.modules, "flash_attn", None)  # to import it fails
    parts, _ = draw((1, 2, 2, 4, 4, 8))
    attention(*(part.bfloat16() for part in parts), scale=0.3)


@pytest.mark.gpu
@pytest.mark.skipif(
    not module.HAS_FLASH, reason="needs flash-attn: pip install --no-build-isolation -e '.[flash]'"
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [s for s in CAUSAL if s[-1] % 8 == 0])
def test_flash_on_cuda(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    parts, direction = draw(shape)
    ours = [part.to("cuda", dtype).requires_grad_() for part in parts]
    assert module._suits_flash(*ours)
    seen = last_sees_all(shape[0], shape[3], shape[4])
    exact = [part.to(dtype).double().requires_grad_() for part in parts]
    wanted = with_gradients(one_by_one(*exact, seen=seen, scale=0.3), exact, direction)
    found = with_gradients(attention(*ours, scale=0.3), ours, direction)
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() <= TOLERANCE[dtype] * other.norm()
