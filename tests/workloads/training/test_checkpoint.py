"""Checkpoints: what comes back bit for bit, and what is done about damaged or foreign ones."""

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor

from workloads.config.model import FFNConfig, ModelConfig
from workloads.errors import InputError
from workloads.nn.transformer import Transformer
from workloads.optim.adamw import AdamWConfig
from workloads.optim.build import build_optimizer
from workloads.training import checkpoint
from workloads.training.checkpoint import Progress

RUN = "0123456789abcdef"
SHAPE = ModelConfig(
    vocab_size=11,
    block_size=5,
    num_layers=2,
    hidden_dim=6,
    ffn_dim=10,
    num_heads=1,
    ffn=FFNConfig(kind="lowrank", rank=3),
)


class Trainee:
    """A model and its optimizer, and one step of training on random tokens."""

    def __init__(self) -> None:
        self.model = Transformer(SHAPE)
        self.optimizer = build_optimizer(self.model, AdamWConfig(learning_rate=1e-2))
        self.steps = 0

    def step(self) -> float:
        draws = torch.Generator().manual_seed(self.steps)
        tokens = torch.randint(SHAPE.vocab_size, (2, SHAPE.block_size + 1), generator=draws)
        self.steps += 1
        loss = self.model(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def state(self) -> dict[str, Tensor]:
        """Everything a checkpoint is to bring back, in copies."""
        state = {f"model.{n}": t.clone() for n, t in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                state[f"optimizer.{name}.{key}"] = value.clone()
        return state

    def save(self, directory: Path, step: int, seconds: float = 0.0) -> Path:
        progress = Progress(step, seconds)
        tensors = checkpoint.collect(self.model, self.optimizer)
        return checkpoint.save(directory, tensors, progress, RUN)

    def restore(self, directory: Path, run: str = RUN) -> Progress:
        saved = checkpoint.newest(directory, run)
        if saved is None:
            return Progress()
        saved.load(self.model, self.optimizer)
        self.steps = saved.progress.step
        return saved.progress


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.fixture
def states(tmp_path: Path) -> list[dict[str, Tensor]]:
    """The states at steps 1 and 2, both saved in tmp_path."""
    trainee, found = Trainee(), []
    for step in (1, 2):
        trainee.step()
        trainee.save(tmp_path, step, seconds=step / 3)
        found.append(trainee.state())
    return found


def newest(directory: Path) -> Path:
    return max(directory.glob("step-*.safetensors"))


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    trainee = Trainee()
    for _ in range(3):
        trainee.step()
    seconds = 0.1 + 0.2
    trainee.save(tmp_path, 3, seconds)
    saved = trainee.state()
    assert len([name for name in saved if name.endswith(".exp_avg_sq")]) > 20
    losses = [trainee.step() for _ in range(3)]
    ended = trainee.state()

    torch.manual_seed(99)
    other = Trainee()
    assert not same(other.state(), saved)
    assert other.restore(tmp_path) == Progress(3, seconds)
    assert same(other.state(), saved)
    # With the optimizer and the memory layout back, training goes on as it did.
    assert [other.step() for _ in range(3)] == losses
    assert same(other.state(), ended)


def test_an_empty_directory_is_the_beginning(tmp_path: Path) -> None:
    trainee = Trainee()
    before = trainee.state()
    for directory in (tmp_path, tmp_path / "nowhere"):
        assert trainee.restore(directory) == Progress(0, 0.0)
    assert same(trainee.state(), before)


@pytest.mark.parametrize("size", [0, 7, 100, -1000, -1])
def test_a_truncated_file_costs_one_interval(
    tmp_path: Path,
    states: list[dict[str, Tensor]],
    caplog: pytest.LogCaptureFixture,
    size: int,
) -> None:
    path = newest(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    trainee = Trainee()
    assert trainee.restore(tmp_path) == Progress(1, 1 / 3)
    assert same(trainee.state(), states[0])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{path} is damaged" in record.message


def test_a_flipped_byte_anywhere_is_noticed(
    tmp_path: Path, states: list[dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    path = newest(tmp_path)
    sound = path.read_bytes()
    header = struct.unpack("<Q", sound[:8])[0] + 8
    generator = random.Random(0)
    # The step, the seconds and the fingerprint stand first, then names, types and shapes.
    places = [*range(0, 300, 4), *range(300, header, 97), *generator.sample(range(len(sound)), 50)]
    trainee, noticed = Trainee(), 0
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        caplog.clear()
        progress = trainee.restore(tmp_path)
        if caplog.records:
            noticed += 1
            assert progress == Progress(1, 1 / 3), place
            assert same(trainee.state(), states[0]), place
        else:  # A blank between the parts of the header can be another one.
            assert progress == Progress(2, 2 / 3), place
            assert same(trainee.state(), states[1]), place
    assert noticed > 0.95 * len(places)


@pytest.mark.parametrize(
    ("key", "value"), [("step", "3"), ("train_seconds", "9.0"), ("fingerprint", "f" * 16)]
)
def test_what_the_header_says_is_checked(
    tmp_path: Path, states: list[dict[str, Tensor]], key: str, value: str
) -> None:
    path = newest(tmp_path)
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"][key] = value
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    assert Trainee().restore(tmp_path) == Progress(1, 1 / 3)


def test_when_all_are_damaged_the_run_begins_again(
    tmp_path: Path, states: list[dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    trainee = Trainee()
    before = trainee.state()
    assert trainee.restore(tmp_path) == Progress(0, 0.0)
    assert same(trainee.state(), before)
    assert len(caplog.records) == 2


def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, states: list[dict[str, Tensor]]
) -> None:
    trainee = Trainee()
    before = trainee.state()
    with pytest.raises(
        InputError, match=f"{newest(tmp_path)} belongs to run {RUN}, not f"
    ) as error:
        trainee.restore(tmp_path, run="f" * 16)
    assert "\n" not in str(error.value)
    assert same(trainee.state(), before)


def test_two_are_kept(tmp_path: Path) -> None:
    trainee = Trainee()
    trainee.step()
    for step in (1, 9, 10, 100):
        trainee.save(tmp_path, step)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000010.safetensors", "step-00000100.safetensors"]
    assert trainee.restore(tmp_path).step == 100


def test_a_leftover_of_a_killed_save_is_ignored_and_cleared(
    tmp_path: Path, states: list[dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    content = newest(tmp_path).read_bytes()
    leftover = tmp_path / "step-00000003.12345.tmp"
    leftover.write_bytes(content[: len(content) // 2])
    trainee = Trainee()
    assert trainee.restore(tmp_path) == Progress(2, 2 / 3)
    assert not caplog.records
    trainee.save(tmp_path, 3)
    assert not leftover.exists()
    assert Trainee().restore(tmp_path).step == 3


@pytest.mark.gpu
def test_a_checkpoint_moves_between_devices(
    tmp_path: Path, states: list[dict[str, Tensor]]
) -> None:
    trainee = Trainee()
    trainee.model.cuda()
    assert trainee.restore(tmp_path).step == 2
    assert same({name: tensor.cpu() for name, tensor in trainee.state().items()}, states[1])
