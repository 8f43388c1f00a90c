"""Against transformers itself, in an environment of its own.

Its interpreter is that of TRANSFORMERS_PYTHON, which needs torch and transformers; without one, a
virtual environment is made that shares this one's torch and takes transformers from the index of
packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.workloads.interop.exported import MODELS, saved, tokens_of
from tests.workloads.small_runs import Whole
from workloads.data.tokenizers.byte import ByteTokenizer
from workloads.inference.generate import generate
from workloads.interop.huggingface.exporting import export_folder
from workloads.interop.huggingface.importing import import_folder
from workloads.interop.model_file import load_model
from workloads.interop.run_model import load_run_model
from workloads.nn.transformer import Transformer

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("in_transformers.py")
NEW = 20
# Of the largest logit: rounding in fp32, of sums in another order.
ROUNDING = 2e-5
TEXT = "def f(x):\n\treturn  'é 漢 🙂', x\x00\n"


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    if given := os.environ.get("TRANSFORMERS_PYTHON"):
        return given
    folder = tmp_path_factory.mktemp("transformers")
    needs = "needs TRANSFORMERS_PYTHON, a Python with torch and transformers, or an index of them"
    made = called(sys.executable, "-m", "venv", str(folder))
    if made.returncode:
        pytest.skip(f"{needs}: {made.stderr.strip()}")
    inside = str(folder / "bin" / "python")
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(called(inside, "-c", where).stdout.strip())
    shared = sysconfig.get_paths()["purelib"]
    (packages / "shared.pth").write_text(shared)  # No .pth of that folder is read.
    installed = called(inside, "-m", "pip", "install", "--quiet", "--retries=1", "transformers>=5")
    if installed.returncode:
        pytest.skip(f"{needs}: {installed.stderr.strip().splitlines()[-1]}")
    return inside


def called(*words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = kept | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


def run(python: str, job: str, folder: Path) -> None:
    done = called(python, str(SCRIPT), job, str(folder))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def read(python: str, whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a model, and what transformers computes of it."""
    root = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    for name, options in MODELS.items():
        (root / name).mkdir()
        export_folder(saved(options, root / name / "m.safetensors"), root / name / "hf")
        given(load_model(root / name / "m.safetensors"), root / name)
    (root / "run").mkdir()
    export_folder(whole[1], root / "run" / "hf")
    given(load_run_model(whole[1]), root / "run")
    (root / "run" / "text.txt").write_text(TEXT, encoding="utf-8")
    run(python, "read", root)
    return root


def given(model: Transformer, case: Path) -> None:
    tokens = tokens_of(model)
    save_file({"tokens": tokens, "prompt": tokens[:1, :9].clone()}, case / "in.safetensors")


def largest_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape and expected.std() > 0.1
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_greedy_text_are_the_same_there(name: str, read: Path) -> None:
    case, model = read / name, load_model(read / name / "m.safetensors").eval()
    inputs, found = load_file(case / "in.safetensors"), load_file(case / "out.safetensors")
    with torch.no_grad():
        difference = largest_difference(found["logits"], model(inputs["tokens"]))
    print(f"{name}: logits differ by {difference:.2g} of the largest")
    assert difference < ROUNDING
    text = generate(model, inputs["prompt"].tolist(), NEW)[0]
    assert len(set(text)) > 2
    assert found["text"][0, 9:].tolist() == found["plain"][0, 9:].tolist() == text
    about = json.loads((case / "out.json").read_text())
    wanted = "LlamaForCausalLM" if name.startswith("llama") else "GPTNeoXForCausalLM"
    assert about == {"class": wanted, "eos": None}


def test_a_run_and_its_tokenizer_are_the_same_there(read: Path, whole: Whole) -> None:
    case, model = read / "run", load_run_model(whole[1]).eval()
    inputs, found = load_file(case / "in.safetensors"), load_file(case / "out.safetensors")
    with torch.no_grad():
        assert largest_difference(found["logits"], model(inputs["tokens"])) < ROUNDING
    text = found["text"][0, 9:].tolist()  # It ends with the end of a document, if there is one.
    assert text == generate(model, inputs["prompt"].tolist(), NEW)[0][: len(text)]
    about = json.loads((case / "out.json").read_text())
    ids = ByteTokenizer().encode(TEXT).tolist()
    assert about["ids"] == ids and about["decoded"] == TEXT
    assert about["end"] == about["eos"] == 256
    assert about["longest"] == whole[0].model.block_size


@pytest.fixture(scope="session")
def written(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    run(python, "write", root)
    return root


@pytest.mark.parametrize("name", ["llama", "neox"])
def test_models_that_transformers_saves_are_read(name: str, written: Path, tmp_path: Path) -> None:
    case = written / name
    model = import_folder(case / "hf", tmp_path / "m.safetensors").model.eval()
    found = load_file(case / "out.safetensors")
    with torch.no_grad():
        assert largest_difference(model(found["tokens"]), found["logits"]) < ROUNDING
    shards = [*(case / "hf").glob("model-*.safetensors")]
    assert (len(shards) > 2) == (name == "llama")
    # And back, tensor by tensor.
    export_folder(tmp_path / "m.safetensors", tmp_path / "hf")
    theirs: dict[str, Any] = {}
    for path in (case / "hf").glob("*.safetensors"):
        theirs |= load_file(path)
    ours = load_file(tmp_path / "hf" / "model.safetensors")
    renamed = {"lm_head.weight": "embed_out.weight"} if name == "neox" else {}
    theirs = {renamed.get(key, key): value for key, value in theirs.items()}
    zeros = {key for key in set(ours) - set(theirs) if not ours[key].any()}
    assert set(ours) - zeros == set(theirs)
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
