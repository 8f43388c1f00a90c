"""Checkpoints of the public implementation and model files: read, written, damaged, malicious."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.workloads.published import Shape
from tests.workloads.reference_models import (
    SHAPES,
    Malicious,
    batches_of,
    config_of,
    saved,
    state_of,
)
from workloads.errors import InputError
from workloads.interop.model_file import load_model, save_model
from workloads.interop.structured_ffn import (
    import_reference,
    load_structured_ffn,
)
from workloads.nn.self_guided import drop_guides


@pytest.mark.parametrize("name", ["biases of norms", "guided lowrank", "all"])
def test_a_model_file_gives_the_same_model(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    model = load_structured_ffn(state_of(shape), config_of(shape))
    path = tmp_path / "new" / "model.safetensors"
    save_model(model, path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    again = load_model(path)
    assert again.config == model.config
    ((tokens, _),) = batches_of(shape, 1)
    assert torch.equal(again(tokens), model(tokens))
    assert again.state_dict().keys() == model.state_dict().keys()
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["config"])["hidden_dim"] == 18
    drop_guides(model)
    save_model(model, path)  # In place of the first.
    assert not any("guide" in key for key in load_model(path).state_dict())


def test_only_a_model_file_is_replaced(tmp_path: Path) -> None:
    shape = SHAPES["lowrank"]
    checkpoint, out = tmp_path / "0.pth", tmp_path / "out"
    torch.save(state_of(shape), checkpoint)
    before = checkpoint.read_bytes()
    for place in (checkpoint, tmp_path):
        with pytest.raises(InputError, match="is not an imported model; choose another name"):
            import_reference(checkpoint, config_of(shape), place)
    assert checkpoint.read_bytes() == before
    import_reference(checkpoint, config_of(shape), out)
    import_reference(checkpoint, config_of(shape), out)
    with pytest.raises(InputError, match=r"cannot be written: .*; choose another place"):
        import_reference(checkpoint, config_of(shape), out / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.pth", "out"]


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_another_file_is_not_a_model(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="is not a model of this platform"):
        load_model(path)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("zipped", r"holds pickled objects \(\w+.mkdir\) beside its tensors"),
        ("legacy", r"holds pickled objects \(\w+.mkdir\) beside its tensors"),
        ("plain pickle", "not a checkpoint that torch.save wrote"),
    ],
)
def test_pickled_objects_are_refused_and_not_run(form: str, expected: str, tmp_path: Path) -> None:
    path, made = tmp_path / "0.pth", tmp_path / "made"
    content = {"model": state_of(Shape()), "config": Malicious(made)}
    attack = pickle.dumps({"config": Malicious(made)})
    path.write_bytes(attack if form == "plain pickle" else saved(content, form == "zipped"))
    with pytest.raises(InputError, match=expected) as caught:
        import_reference(path, config_of(Shape()), tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.pth"]
    pickle.loads(attack)
    assert made.exists(), "the attack would not have worked"


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    whole = saved(state_of(Shape()))
    legacy = saved(state_of(Shape()), zipped=False)
    damaged = [b"", b"text\n", whole[:-50], whole[:1000], legacy[:-50], legacy[:500], bytes(999)]
    path = tmp_path / "0.pth"
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged or not a checkpoint") as caught:
            import_reference(path, config_of(Shape()), tmp_path / "out")
        assert len(str(caught.value).splitlines()) == 1
    for missing in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(InputError, match=r"cannot be read: .*; check the path"):
            import_reference(missing, config_of(Shape()), tmp_path / "out")
