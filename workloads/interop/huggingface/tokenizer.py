"""The tokenizer of a model that leaves or enters the platform."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer as Library

from workloads.config.run import RunConfig
from workloads.data.config import DataConfig, MixtureConfig, OneText, PathConfig
from workloads.data.fingerprint import fingerprint
from workloads.data.formats.opening import read_path
from workloads.data.tokenizers.table import load_tokenizer
from workloads.data.tokenizers.tokenizer import Tokenizer
from workloads.errors import InputError
from workloads.interop.huggingface.folder import TOKENIZER, TOKENIZER_CONFIG
from workloads.run_dir.configuration import read_config
from workloads.run_dir.reading import Source, read_reading


def read_tokenizer(path: Path, vocab_size: int) -> str:
    """Return the content of a tokenizer's file. Raises InputError where it is none, or has more ids
    than the model."""
    found = load_tokenizer(str(path)).vocab_size
    if found > vocab_size:
        raise InputError(
            f"{path}: has {found} ids and the model {vocab_size}: it is of another model; put the "
            "model's own in its place, or remove it"
        )
    return path.read_text(encoding="utf-8")


def tokenizer_of_run(run_dir: Path) -> Tokenizer:
    """Return the tokenizer of the text that a run trained on. Raises InputError where it is not at
    hand."""
    config, reading = read_config(run_dir), read_reading(run_dir)
    texts = _texts(config)
    for name, source in reading.sources.items():
        if (found := _tokenizer(texts[name], source)) is not None:
            return found
    places = ", ".join(str(source.path) for source in reading.sources.values())
    raise InputError(f"{places}: does not say which tokenizer its tokens are of")


def _texts(config: RunConfig) -> dict[str, OneText]:
    data = config.data
    return dict(data.sources) if isinstance(data, MixtureConfig) else {"": data}


def _tokenizer(text: OneText, source: Source) -> Tokenizer | None:
    """Return the tokenizer of one text; None where nothing says which it is."""
    if isinstance(text, DataConfig) and (file := text.tokenizer_file):
        if fingerprint(text) != source.fingerprint:
            raise InputError(f"{file}: is another tokenizer than the run's, or the text is another")
        return load_tokenizer(file)
    if isinstance(text, PathConfig) and text.tokenizer:
        return load_tokenizer(text.tokenizer)
    own = read_path(source.path).own
    return own and own.tokenizer


def write_tokenizer(folder: Path, content: str, block_size: int) -> int:
    """Write a tokenizer's files into a folder; return the id that ends a document.

    `block_size` is the longest text that the model reads, in tokens.
    """
    path = folder / TOKENIZER
    path.write_text(content, encoding="utf-8")
    end = load_tokenizer(str(path)).end_of_document
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": Library.from_file(str(path)).id_to_token(end),
        "model_max_length": block_size,
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(settings, indent=1, ensure_ascii=False)
    (folder / TOKENIZER_CONFIG).write_text(text + "\n", encoding="utf-8")
    return end
