"""Finding and opening the texts that configurations name (no torch).

`find` says what is known of a text before anything is trained, whether it is at hand or not.
`placed` turns a text into the path where it lies, which a worker on another machine can open.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from workloads.data import remote, shards
from workloads.data.config import (
    AnyText,
    DataConfig,
    MixtureConfig,
    NamedConfig,
    OneText,
    PathConfig,
    PlacedText,
)
from workloads.data.corpora.named import NAMED
from workloads.data.dataset import Mixture, OpenText, TokenDataset
from workloads.data.fingerprint import fingerprint
from workloads.data.formats.opening import is_anything_at, open_path
from workloads.data.formats.own import part_of_dataset
from workloads.data.manifest import (
    MANIFEST_FILE,
    SPLITS,
    TOKENIZER_FILE,
    DataError,
    PreparedManifest,
    TextSize,
    read_manifest,
)
from workloads.data.size import text_size
from workloads.data.tokenizers.table import TOKENIZERS, load_tokenizer
from workloads.data.unchanged import remembered


@dataclass(frozen=True)
class Found:
    """What is known of one text.

    `dataset` is where it lies on this machine, None where it does not. Of a text that is missing,
    `missing` says what is and `command` makes it; the fingerprint is a placeholder then, and the
    size what the table of named corpora expects, or None. A bundled corpus is missing only where
    its tokenizer is: it is built when it is first used.

    `tokenizer_sha256`, `vocabulary_is_known` and `cautions` are as of a `TokenDataset`. `unfit`
    says why nothing may be trained on the text, though runs that were may be read.
    """

    text: OneText
    fingerprint: str
    size: TextSize | None
    dataset: Path | None = None
    row_tokens: int | None = None
    missing: str = ""
    command: str = ""
    tokenizer_sha256: str | None = None
    vocabulary_is_known: bool = True
    cautions: tuple[str, ...] = ()
    unfit: str = ""

    @property
    def name(self) -> str:
        """What people call the text: its corpus, or the last part of its path."""
        text = self.text
        return Path(text.path).name if isinstance(text, PathConfig) else text.source

    @property
    def place(self) -> str:
        """Where it comes from: its path or URL, or the corpus."""
        return self.text.path if isinstance(self.text, PathConfig) else self.text.source


def find(text: OneText, data_root: Path) -> Found:
    """Look a text up. Raises DataError where it is at hand and damaged, or cannot be one."""
    if isinstance(text, DataConfig):
        return _find_bundled(text, data_root)
    return _find_named(text, data_root) if isinstance(text, NamedConfig) else _find_path(text)


def _find_bundled(text: DataConfig, data_root: Path) -> Found:
    if (file := text.tokenizer_file) and not Path(file).is_file():
        command = f"python -m workloads data train-tokenizer SOURCE... --vocab N --out {file}"
        return _missing(text, f"there is no tokenizer at {file}", command)
    directory = shards.directory_of(text, data_root)
    built = directory if directory.exists() else None
    sha256, _ = _tokenizer_facts(text.tokenizer)
    return Found(text, fingerprint(text), text_size(text), built, tokenizer_sha256=sha256)


def _find_named(text: NamedConfig, data_root: Path) -> Found:
    place = named_place(text, data_root)
    if (place / MANIFEST_FILE).exists():
        _require_tokenizer(text, place)
        return _found_at(text, PathConfig(path=str(place)))
    problem, size = f"{text.source} is not prepared in {data_root}", NAMED[text.source].expected
    found = _missing(text, problem, prepare_command(text, place), size)
    if not Path(text.tokenizer).is_file():
        return found
    sha256, vocab_size = _tokenizer_facts(text.tokenizer)
    return replace(found, size=replace(size, vocab_size=vocab_size), tokenizer_sha256=sha256)


def _find_path(text: PathConfig) -> Found:
    if remote.is_url(text.path):
        manifest = remote.remote_manifest(text.path)
        train, val = (manifest.split(name).tokens for name in SPLITS)
        size = TextSize(manifest.vocab_size, train, val)
        prepared = isinstance(manifest, PreparedManifest)
        rows, sha256 = (
            (manifest.row_tokens, manifest.tokenizer.sha256) if prepared else (None, None)
        )
        return Found(text, manifest.fingerprint, size, row_tokens=rows, tokenizer_sha256=sha256)
    if not is_anything_at(Path(text.path)):
        command = f"python -m workloads data prepare SOURCE... --tokenizer T --out {text.path}"
        return _missing(text, f"there is no dataset at {text.path}", command)
    return _found_at(text, text)


def _found_at(text: OneText, place: PathConfig) -> Found:
    dataset = _open(place)
    return Found(
        text,
        dataset.fingerprint,
        dataset.size,
        Path(place.path),
        dataset.row_tokens,
        tokenizer_sha256=_tokenizer_of(place, dataset),
        vocabulary_is_known=dataset.vocabulary_is_known,
        cautions=dataset.cautions,
        unfit=_unfit(place, dataset) or "",
    )


def _tokenizer_of(text: PathConfig, dataset: TokenDataset) -> str | None:
    """Return the SHA-256 of a text's tokenizer: its dataset's, or that of the file it names."""
    if dataset.tokenizer_sha256 or not text.tokenizer or not Path(text.tokenizer).is_file():
        return dataset.tokenizer_sha256
    return _tokenizer_facts(text.tokenizer)[0]


def _unfit(text: PathConfig, dataset: TokenDataset) -> str | None:
    """Return why nothing may be trained on a text, if that is so: its keys say otherwise than its
    dataset, or name one file of it."""
    for path in filter(None, (text.path, text.val)):
        if problem := part_of_dataset(Path(path)):
            return problem
    if text.rows not in (None, dataset.row_tokens):
        has = f"rows of {dataset.row_tokens} tokens" if dataset.row_tokens else "no rows"
        return f"{text.path} has {has}, as its manifest says; leave `rows` out"
    if text.tokenizer and not Path(text.tokenizer).is_file():
        return f"there is no tokenizer at {text.tokenizer}; put it there, or leave `tokenizer` out"
    made_with = dataset.tokenizer_sha256
    if text.tokenizer and made_with and _tokenizer_facts(text.tokenizer)[0] != made_with:
        return f"{text.path} was made with another tokenizer than {text.tokenizer}; name that one"
    return None


def _tokenizer_facts(name_or_path: str) -> tuple[str, int]:
    """Return the SHA-256 and the number of ids of a tokenizer, whose file is read once."""
    if name_or_path in TOKENIZERS:
        return TOKENIZERS[name_or_path].sha256, TOKENIZERS[name_or_path].vocab_size

    def read() -> str:
        tokenizer = load_tokenizer(name_or_path)
        return f"{tokenizer.sha256} {tokenizer.vocab_size}"

    sha256, vocab_size = remembered("tokenizer", [Path(name_or_path)], read).split()
    return sha256, int(vocab_size)


def _missing(text: OneText, problem: str, command: str, size: TextSize | None = None) -> Found:
    """Return what is known of a text that is not at hand: a placeholder for its fingerprint."""
    content = json.dumps(text.model_dump(mode="json"), sort_keys=True)
    placeholder = f"missing-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    return Found(text, placeholder, size, missing=problem, command=command)


def named_place(text: NamedConfig, data_root: Path) -> Path:
    """Return the folder of a named corpus in the data root: of this row and this tokenizer."""
    row = NAMED[text.source]
    made_of = json.dumps([*row.files, row.text_field, row.recipe])
    key = hashlib.sha256(made_of.encode()).hexdigest()[:8]
    return data_root / f"{text.source}-{Path(text.tokenizer).stem}-{key}"


def _require_tokenizer(text: NamedConfig, place: Path) -> None:
    """Raise DataError where the corpus was prepared with another tokenizer of the same name."""
    if not Path(text.tokenizer).is_file():  # only preparing needs it
        return
    manifest, sha256 = read_manifest(place), load_tokenizer(text.tokenizer).sha256
    if isinstance(manifest, PreparedManifest) and manifest.tokenizer.sha256 != sha256:
        raise DataError(
            f"{place}: was prepared with another tokenizer than {text.tokenizer}; rename the file, "
            "and name it so in the study file"
        )


def prepare_command(text: NamedConfig, place: Path) -> str:
    """Return the command that makes a named corpus without a study."""
    row = NAMED[text.source]
    files = " ".join(f"'{each}'" for each in row.files)
    return (
        f"python -m workloads data prepare {files} --text-field {row.text_field} "
        f"--recipe {row.recipe} --tokenizer {text.tokenizer} --out {place}"
    )


def placed(text: AnyText, data_root: Path) -> PlacedText:
    """Return the text by absolute paths; it is at hand when this returns.

    A bundled corpus is built where it is not there, and a dataset at a URL copied. Raises
    DataError, with the command that makes it, for any other that is missing.
    """
    if not isinstance(text, MixtureConfig):
        return placed_one(text, data_root)
    sources = {name: placed_one(each, data_root) for name, each in used_sources(text).items()}
    return MixtureConfig.model_validate({"sources": sources, "mixture": text.weights})


def placed_one(text: OneText, data_root: Path) -> PathConfig:
    """Return a text that is no mixture by absolute paths, as `placed` does."""
    if isinstance(text, PathConfig) and remote.is_url(text.path):
        text = text.model_copy(update={"path": str(remote.local_copy(text.path, data_root))})
    found = find(text, data_root)
    if found.missing:
        raise DataError(f"{found.missing}; make it: {found.command}")
    if isinstance(text, DataConfig):
        return PathConfig(path=_absolute(shards.prepare(text, data_root).directory))
    if isinstance(text, NamedConfig):
        return _placed_named(text, named_place(text, data_root))
    paths = {"path": text.path, "val": text.val, "tokenizer": text.tokenizer}
    return text.model_copy(update={n: path and _absolute(path) for n, path in paths.items()})


def _placed_named(text: NamedConfig, place: Path) -> PathConfig:
    """Return a named corpus by absolute paths. Its tokenizer is that in its folder; datasets of
    earlier versions have none there."""
    apart = not (place / TOKENIZER_FILE).exists() and Path(text.tokenizer).is_file()
    tokenizer = _absolute(text.tokenizer) if apart else None
    return PathConfig(path=_absolute(place), tokenizer=tokenizer)


def opened(text: PlacedText) -> OpenText:
    """Open a text that was `placed`. Raises DataError where it is damaged.

    The sources of a mixture are in the order of their names, whatever the order in which they are
    written: which sample comes from where follows from it, and a fingerprint knows no order.
    """
    if isinstance(text, PathConfig):
        return opened_one(text)
    paths = {n: each for n, each in text.sources.items() if isinstance(each, PathConfig)}
    names = sorted(paths)
    datasets = {name: opened_one(paths[name]) for name in names}
    return Mixture(datasets, {name: text.weights[name] for name in names})


def opened_one(text: PathConfig) -> TokenDataset:
    """Open a dataset at a path, with its tokenizer where that is at hand.

    Raises DataError where it is damaged, or is not what the keys of the text say.
    """
    dataset = _open(text)
    if problem := _unfit(text, dataset):
        raise DataError(problem)
    tokenizer = dataset.tokenizer or (load_tokenizer(text.tokenizer) if text.tokenizer else None)
    sha256 = _tokenizer_of(text, dataset)
    return replace(dataset, tokenizer=tokenizer, tokenizer_sha256=sha256)


def used_sources(text: MixtureConfig) -> dict[str, OneText]:
    """Return the sources of a mixture that have a weight."""
    return {name: text.sources[name] for name in text.weights}


def _open(text: PathConfig) -> TokenDataset:
    val = Path(text.val) if text.val else None
    return open_path(Path(text.path), val, text.vocab_size, text.rows)


def _absolute(path: str | Path) -> str:
    return str(Path(path).resolve())
