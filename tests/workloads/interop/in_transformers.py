"""The side of transformers, run by an interpreter that has it: `in_transformers.py JOB FOLDER`.

This file imports nothing of the platform, whose package `kernels` has the name of one that
transformers looks for.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

transformers: Any = import_module("transformers")


def read(folder: Path) -> None:
    """Write what transformers computes of every model in `folder/*/hf`, beside it as `out`.

    `in.safetensors` has the tokens of a batch, and a prompt.
    """
    for case in sorted(path.parent for path in folder.glob("*/hf")):
        model = transformers.AutoModelForCausalLM.from_pretrained(case / "hf").eval()
        given = load_file(case / "in.safetensors")
        with torch.no_grad():
            logits = model(given["tokens"]).logits
            # With a cache, and without one.
            text = model.generate(given["prompt"], max_new_tokens=20, do_sample=False)
            plain = model.generate(
                given["prompt"], max_new_tokens=20, do_sample=False, use_cache=False
            )
        found = {"logits": logits, "text": text, "plain": plain}
        save_file({k: v.contiguous() for k, v in found.items()}, case / "out.safetensors")
        about = {"class": type(model).__name__, "eos": model.generation_config.eos_token_id}
        if (case / "hf" / "tokenizer.json").exists():
            about |= tokenized(case)
        (case / "out.json").write_text(json.dumps(about))


def tokenized(case: Path) -> dict[str, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(case / "hf")
    text = (case / "text.txt").read_text(encoding="utf-8")
    ids = tokenizer(text)["input_ids"]
    return {
        "ids": ids,
        "decoded": tokenizer.decode(ids),
        "end": tokenizer.eos_token_id,
        "longest": tokenizer.model_max_length,
    }


def write(folder: Path) -> None:
    """Write models that transformers makes, with logits of a batch, one of them in shards."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 61, "hidden_size": 36, "intermediate_size": 60, "initializer_range": 0.2}
    sizes |= {"num_hidden_layers": 3, "max_position_embeddings": 48}
    scaling = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 3.0, "original_max_position_embeddings": 32}
    llama = transformers.LlamaConfig(
        **sizes,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        attention_bias=True,
        rope_parameters=scaling | {"rope_theta": 700.0},
    )
    neox = transformers.GPTNeoXConfig(
        **sizes,
        num_attention_heads=3,
        use_parallel_residual=False,
        rope_parameters={"rope_theta": 700.0, "partial_rotary_factor": 1.0},
    )
    for name, model, shard in (
        ("llama", transformers.LlamaForCausalLM(llama), "20KB"),
        ("neox", transformers.GPTNeoXForCausalLM(neox), "50GB"),
    ):
        for parameter in model.parameters():  # Biases and norms start at special values.
            torch.nn.init.normal_(parameter, std=0.2)
        case = folder / name
        model.eval().save_pretrained(case / "hf", max_shard_size=shard)
        tokens = torch.randint(61, (2, 48))
        with torch.no_grad():
            found = {"tokens": tokens, "logits": model(tokens).logits.contiguous()}
        save_file(found, case / "out.safetensors")


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](Path(sys.argv[2]))
