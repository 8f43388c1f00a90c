"""Folders of transformers, without transformers: what they hold, and the way back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.command import run_main
from tests.workloads.interop.exported import LLAMA, MODELS, SCALING, built, saved, tokens_of
from tests.workloads.small_runs import Whole
from workloads.__main__ import main
from workloads.interop.huggingface.exporting import export_folder
from workloads.interop.huggingface.importing import import_folder
from workloads.interop.huggingface.tensors import dense_shape
from workloads.interop.model_file import load_model, save_model
from workloads.nn.transformer import Transformer

over_models = pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


# There and back


@over_models
def test_a_model_comes_back_as_the_dense_one_that_computes_the_same(
    options: dict[str, Any], tmp_path: Path
) -> None:
    model = load_model(saved(options, tmp_path / "m.safetensors"))
    export_folder(tmp_path / "m.safetensors", tmp_path / "hf")
    back = import_folder(tmp_path / "hf", tmp_path / "back.safetensors").model
    assert back.config == dense_shape(model.config)
    tokens = tokens_of(model)
    with torch.no_grad():
        torch.testing.assert_close(back.eval()(tokens), model.eval()(tokens), rtol=1e-4, atol=1e-5)
    if model.config.ffn.is_dense:
        assert_same_weights(back, model)


@over_models
def test_a_second_export_is_the_same_to_the_byte(options: dict[str, Any], tmp_path: Path) -> None:
    export_folder(saved(options, tmp_path / "m.safetensors"), tmp_path / "hf")
    import_folder(tmp_path / "hf", tmp_path / "back.safetensors")
    export_folder(tmp_path / "back.safetensors", tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "hf" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    modes = {file.stat().st_mode for file in (tmp_path / "hf").iterdir()}
    assert len(modes) == 1  # whoever can read one file can read all


def assert_same_weights(found: Transformer, expected: Transformer) -> None:
    theirs = dict(expected.named_parameters())
    assert {name for name, _ in found.named_parameters()} == set(theirs)
    for name, parameter in found.named_parameters():
        assert torch.equal(parameter, theirs[name]), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_have_the_type_that_is_asked_for_and_keep_it(dtype: Any, tmp_path: Path) -> None:
    model = load_model(saved(LLAMA, tmp_path / "m.safetensors"))
    export_folder(tmp_path / "m.safetensors", tmp_path / "hf", dtype)
    kind = getattr(torch, dtype)
    assert {tensor.dtype for tensor in tensors_of(tmp_path / "hf").values()} == {kind}
    assert config_of(tmp_path / "hf")["torch_dtype"] == dtype
    import_folder(tmp_path / "hf", tmp_path / "back.safetensors")
    assert load_file(tmp_path / "back.safetensors")["wte.weight"].dtype == kind
    back = load_model(tmp_path / "back.safetensors")
    assert torch.equal(back.wte.weight, model.wte.weight.to(kind).float())


# What a folder holds


def test_a_llama_folder(tmp_path: Path) -> None:
    options = LLAMA | {"num_heads": 6, "num_kv_heads": 2, "attn_dim": 48, "rope_scaling": SCALING}
    ours = dict(load_model(saved(options, tmp_path / "m.safetensors")).named_parameters())
    export_folder(tmp_path / "m.safetensors", tmp_path / "hf")
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 3.0, "original_max_position_embeddings": 32}
    assert config_of(tmp_path / "hf") == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 61,
        "hidden_size": 36,
        "intermediate_size": 60,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 48,
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-5,
        "rope_theta": 700.0,
        "rope_scaling": scaling,
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "bos_token_id": None,
        "eos_token_id": None,
        "torch_dtype": "float32",
    }
    theirs = tensors_of(tmp_path / "hf")
    assert len(theirs) == 3 + 3 * 9
    layer, own = "model.layers.1.", "layers.1."
    qkv, fc1 = ours[f"{own}attention.qkv_linear.weight"], ours[f"{own}mlp.fc1.weight"]
    expected = {
        "model.embed_tokens.weight": ours["wte.weight"],
        f"{layer}self_attn.q_proj.weight": qkv[:48],
        f"{layer}self_attn.k_proj.weight": qkv[48:64],
        f"{layer}self_attn.v_proj.weight": qkv[64:],
        f"{layer}self_attn.o_proj.weight": ours[f"{own}attention.o_linear.weight"],
        f"{layer}mlp.gate_proj.weight": fc1[:60],
        f"{layer}mlp.up_proj.weight": fc1[60:],
        f"{layer}mlp.down_proj.weight": ours[f"{own}mlp.fc2.weight"],
        f"{layer}input_layernorm.weight": ours[f"{own}ln1.weight"],
        f"{layer}post_attention_layernorm.weight": ours[f"{own}ln2.weight"],
        "model.norm.weight": ours["ln_f.weight"],
        "lm_head.weight": ours["lm_head.weight"],
    }
    for name, value in expected.items():
        assert torch.equal(theirs[name], value), name
    with safe_open(tmp_path / "hf" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}  # transformers asks for it


def test_a_neox_folder(tmp_path: Path) -> None:
    options = {"bias": False, "tie_embeddings": False, "activation": "gelu_tanh", "dropout": 0.1}
    ours = dict(load_model(saved(options, tmp_path / "m.safetensors")).named_parameters())
    export_folder(tmp_path / "m.safetensors", tmp_path / "hf")
    config = config_of(tmp_path / "hf")
    assert config["architectures"] == ["GPTNeoXForCausalLM"]
    assert (config["hidden_act"], config["hidden_dropout"]) == ("gelu_pytorch_tanh", 0.1)
    assert (config["use_parallel_residual"], config["rotary_pct"]) == (False, 1.0)
    assert (config["attention_bias"], config["layer_norm_eps"]) == (False, 1e-5)
    theirs = tensors_of(tmp_path / "hf")
    layer = "gpt_neox.layers.2."
    qkv = ours["layers.2.attention.qkv_linear.weight"]
    packed = theirs[f"{layer}attention.query_key_value.weight"]
    for head in range(3):
        for part in range(3):
            start = (3 * head + part) * 12
            assert torch.equal(packed[start : start + 12], qkv[36 * part :][12 * head :][:12])
    assert torch.equal(theirs["embed_out.weight"], ours["lm_head.weight"])
    assert torch.equal(theirs[f"{layer}mlp.dense_4h_to_h.weight"], ours["layers.2.mlp.fc2.weight"])
    # Biases that are always there; without those of attention.
    zeros = {name for name, value in theirs.items() if not value.any()}
    assert zeros == {name for name in theirs if name.endswith(".bias")}
    assert len(zeros) == 3 * 4 + 1 and not any("attention.d" in name for name in zeros)


def test_what_has_no_place_and_changes_nothing_is_said(tmp_path: Path) -> None:
    saved(LLAMA | {"dropout": 0.1}, tmp_path / "m.safetensors")
    done = run_main(main, "w", "export-hf", tmp_path / "m.safetensors", tmp_path / "hf")
    assert (done.returncode, done.stderr) == (0, "")
    first, left_out, tokenizer = done.stdout.splitlines()
    count = sum(tensor.numel() for tensor in tensors_of(tmp_path / "hf").values())
    assert first == f"{tmp_path}/hf: LlamaForCausalLM, {count:,} parameters in float32"
    assert left_out == "dropout 0.1 is left out: LlamaForCausalLM has none"
    missing = tmp_path / "m.tokenizer.json"
    assert tokenizer == f"no tokenizer is written: {missing} is missing"


# Runs


def test_a_run_leaves_with_its_tokenizer(whole: Whole, tmp_path: Path) -> None:
    config, run_dir, _, _ = whole
    done = run_main(main, "w", "export-hf", run_dir, tmp_path / "hf", "--dtype", "float32")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    newest = max((run_dir / "checkpoints").glob("*.safetensors"))
    weights = load_file(newest)
    fc1 = tensors_of(tmp_path / "hf")["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    product = weights["model.layers.1.mlp.fc1.u"] @ weights["model.layers.1.mlp.fc1.v"]
    torch.testing.assert_close(fc1, product)
    assert config_of(tmp_path / "hf")["eos_token_id"] == 256
    settings = json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())
    assert settings["eos_token"] == "<|endoftext|>"
    assert settings["model_max_length"] == config.model.block_size
    imported = run_main(main, "w", "import-hf", tmp_path / "hf", tmp_path / "m.safetensors")
    assert (imported.returncode, imported.stderr) == (0, "")
    assert imported.stdout.splitlines()[1] == f"{tmp_path}/m.tokenizer.json: its tokenizer"
    # The tokenizer goes on with the model.
    export_folder(tmp_path / "m.safetensors", tmp_path / "again")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        assert (tmp_path / "hf" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


# What does not fit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": "absolute"}, "position: absolute has no place in GPTNeoXForCausalLM"),
        (LLAMA | {"position": "absolute"}, "position: absolute has no place in LlamaForCausalLM"),
        (LLAMA | {"inverse_layer_scale": True}, "inverse_layer_scale: true has no place in Llama"),
        ({"norm": "rmsnorm"}, "activation: gelu has no place in .*; it has activation: swiglu"),
        ({"activation": "swiglu"}, "norm: layernorm has no place in .*; it has norm: rmsnorm"),
        ({"num_kv_heads": 1}, "num_kv_heads: 1 has no place in GPTNeoX.*; it has num_kv_heads: 3"),
        ({"attn_dim": 24}, "attn_dim: 24 has no place in GPTNeoX.*; it has attn_dim: 36"),
        (
            LLAMA | {"num_heads": 5, "attn_dim": 40},
            "hidden_dim: 36 has no place in Llama.*; it has hidden_dim: 35",
        ),
    ],
)
def test_a_model_that_fits_no_architecture_is_refused_with_the_option(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = saved(options, tmp_path / "m.safetensors")
    refused(f"^{path}: {message}", "export-hf", path, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def refused(message: str, *arguments: str | Path) -> None:
    import re

    done = run_main(main, "workloads", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert re.search(message, line), line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_folder(saved(LLAMA, tmp_path / "m.safetensors"), tmp_path / "hf")
    return tmp_path / "hf"


def rewritten(folder: Path, **changes: Any) -> None:
    config = {k: v for k, v in (config_of(folder) | changes).items() if v is not ...}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["MistralForCausalLM"]},
            "architectures: MistralForCausalLM is not known here; LlamaForCausalLM and GPTNeoX",
        ),
        ({"architectures": ..., "model_type": "gpt2"}, "architectures: none is not known here"),
        ({"hidden_size": ...}, "hidden_size: Field required; get the file anew"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; a model here can only have 'silu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is a mapping; .* None"),
        ({"num_key_value_heads": 2}, "num_kv_heads 2 does not divide num_heads 3"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling is of type yarn; .* or llama3"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling of type linear lacks 'factor'"),
        ({"intermediate_size": 61}, None),
    ],
)
def test_a_config_that_does_not_fit_is_one_line(
    changes: dict[str, Any], message: str | None, folder: Path
) -> None:
    rewritten(folder, **changes)
    expected = rf"^{folder}/config.json: {message}"
    if message is None:
        expected = (
            rf"^{folder}/model.safetensors: model.layers.0.mlp.gate_proj.weight is \(60, 36\), and "
            r"by config.json \(61, 36\); get both of one model"
        )
    refused(expected, "import-hf", folder, folder.parent / "out.safetensors")
    assert not (folder.parent / "out.safetensors").exists()


def test_parallel_residuals_and_heads_that_turn_in_part_are_refused(tmp_path: Path) -> None:
    export_folder(saved({}, tmp_path / "m.safetensors"), tmp_path / "hf")
    for key in ("use_parallel_residual", "rotary_pct"):  # left out, they are as of Pythia
        kept = config_of(tmp_path / "hf")
        rewritten(tmp_path / "hf", **{key: ...})
        refused(f"config.json: {key} is ", "import-hf", tmp_path / "hf", tmp_path / "o")
        (tmp_path / "hf" / "config.json").write_text(json.dumps(kept))


def test_rope_as_version_5_writes_it_is_read(tmp_path: Path) -> None:
    for name, options, key in (("l", LLAMA, "rope_theta"), ("n", {}, "rotary_emb_base")):
        folder = tmp_path / name
        path = saved(options | {"rope_scaling": SCALING}, tmp_path / f"{name}.safetensors")
        export_folder(path, folder)
        config = config_of(folder)
        rope = config["rope_scaling"] | {"rope_theta": 700.0}
        if name == "n":
            rope["partial_rotary_factor"] = 1.0
        changes = {key: ..., "rope_scaling": ..., "rotary_pct": ..., "rope_parameters": rope}
        rewritten(folder, **changes)
        model = import_folder(folder, tmp_path / "back.safetensors").model
        assert model.config == load_model(path).config


def test_files_that_are_missing_or_foreign_are_named(folder: Path) -> None:
    out, weights = folder.parent / "out.safetensors", folder / "model.safetensors"
    tensors = load_file(weights)
    name = "model.layers.2.mlp.up_proj.weight"

    save_file({k: v for k, v in tensors.items() if k != name}, weights)
    refused(f"^{folder}: .* LlamaForCausalLM .*: missing {name}; get", "import-hf", folder, out)
    save_file(tensors | {"model.layers.3.x": torch.ones(1)}, weights)
    refused("unexpected model.layers.3.x; get both of one", "import-hf", folder, out)
    save_file(tensors | {name: tensors[name].to(torch.int8)}, weights)
    refused(f"{name} is of I8; save the weights as one of F64, ", "import-hf", folder, out)
    weights.write_bytes(weights.read_bytes()[:-7])
    refused(f"^{weights}: is damaged or no safetensors file", "import-hf", folder, out)
    weights.unlink()
    refused(f"^{weights}: missing; name a folder that holds", "import-hf", folder, out)
    torch.save(tensors, folder / "pytorch_model.bin")
    refused("pytorch_model.bin: holds pickled weights, and", "import-hf", folder, out)
    (folder / "config.json").write_text("{")
    refused(f"^{folder}/config.json: is no JSON", "import-hf", folder, out)
    refused("config.json: missing; name the folder", "import-hf", folder.parent / "nowhere", out)
    assert not out.exists()


def test_shards_are_read_and_a_missing_one_is_named(folder: Path) -> None:
    tensors, out = tensors_of(folder), folder.parent / "out.safetensors"
    shards = {"a.safetensors": list(tensors)[::2], "b.safetensors": list(tensors)[1::2]}
    for shard, names in shards.items():
        save_file({name: tensors[name] for name in names}, folder / shard)
    (folder / "model.safetensors").unlink()
    refused(f"^{folder}/model.safetensors.index.json: missing, and a.s", "import-hf", folder, out)
    places = {name: shard for shard, names in shards.items() for name in names}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same_weights(
        import_folder(folder, out).model, load_model(folder.parent / "m.safetensors")
    )
    (folder / "b.safetensors").unlink()
    name = shards["b.safetensors"][0]
    refused(f"^{folder}/b.safetensors: missing, and {name} is in it", "import-hf", folder, out)


def test_tables_and_a_second_copy_of_the_embedding_are_passed_over(tmp_path: Path) -> None:
    for name, options, table in (
        ("l", LLAMA | {"tie_embeddings": True}, "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("n", {}, "gpt_neox.layers.1.attention.masked_bias"),
    ):
        folder, path = tmp_path / name, saved(options, tmp_path / f"{name}.safetensors")
        export_folder(path, folder)
        tensors = tensors_of(folder)
        tensors |= {table: torch.ones(3), "lm_head.weight": tensors[next(iter(tensors))].clone()}
        save_file(tensors, folder / "model.safetensors")
        model = import_folder(folder, tmp_path / "back.safetensors").model
        assert_same_weights(model, load_model(path))


def test_a_tokenizer_of_another_size_is_refused(whole: Whole, tmp_path: Path) -> None:
    export_folder(whole[1], tmp_path / "run")
    export_folder(saved(LLAMA, tmp_path / "m.safetensors"), tmp_path / "hf")  # of 61 ids
    content = (tmp_path / "run" / "tokenizer.json").read_bytes()
    (tmp_path / "hf" / "tokenizer.json").write_bytes(content)
    line = "has 257 ids and the model 61: it is of another model; put"
    refused(f"hf/tokenizer.json: {line}", "import-hf", tmp_path / "hf", tmp_path / "o.safetensors")
    (tmp_path / "m.tokenizer.json").write_bytes(content)
    refused(
        f"m.tokenizer.json: {line}", "export-hf", tmp_path / "m.safetensors", tmp_path / "other"
    )


def test_nothing_is_written_over(folder: Path) -> None:
    model = folder.parent / "m.safetensors"
    refused(f"^{folder}: exists; choose another name", "export-hf", model, folder)
    other = folder.parent / "notes.txt"
    other.write_text("mine")
    refused(f"^{other}: exists and is not a model file", "import-hf", folder, other)
    refused("is not a model of this platform", "export-hf", other, folder.parent / "x")
    refused("run.json: missing: ", "export-hf", folder, folder.parent / "x")
    assert other.read_text() == "mine"


def test_a_model_in_float64_leaves_in_float32(tmp_path: Path) -> None:
    save_model(built(LLAMA).double(), tmp_path / "m.safetensors")
    export_folder(tmp_path / "m.safetensors", tmp_path / "hf")
    assert {t.dtype for t in tensors_of(tmp_path / "hf").values()} == {torch.float32}
