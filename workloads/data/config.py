"""The text that a run trains on, as a study file or a recipe names it.

There are four ways to name one: a bundled corpus, the path of a dataset, a named corpus of the hub,
or a mixture of these. The keys that are written say which it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PositiveFloat, model_validator

from workloads.data.corpora.named import NAMED
from workloads.data.corpora.table import CORPORA
from workloads.data.tokenizers.table import TOKENIZERS
from workloads.errors import Misfit
from workloads.schema.base import Config, Size
from workloads.schema.by_kind import ByKind
from workloads.schema.known_names import OneOf, suggestion

# How far weights may be from a sum of 1: people write 0.33 three times.
SUM_TOLERANCE = 0.011
# Names stand in ids, in arms and in the names of metrics.
NAME, LONGEST_NAME = r"[a-z][a-z0-9_]*", 40
TOKENIZER_SUFFIX = ".json"


def _plain_name(name: str) -> str:
    """Return the name. Raises ValueError, with one that will do, where it cannot be one."""
    if not re.fullmatch(NAME, name) or len(name) > LONGEST_NAME:
        close = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_0123456789")[:LONGEST_NAME]
        rule = f"a letter, then a-z, 0-9 and _, {LONGEST_NAME} at most"
        raise ValueError(f"the name of a text is {rule}; try {close or 'web'}")
    return name


def _written(path: str) -> str:
    """Return the path. Raises ValueError where it is empty or none that a file can have."""
    if not path.strip() or "\0" in path:
        raise ValueError("this should be the path of token data; name it")
    return path


def _tokenizer_file(path: str) -> str:
    """Return the path. Raises ValueError where it is not that of a tokenizer's file."""
    if not path.endswith(TOKENIZER_SUFFIX):
        raise ValueError(f"this should be the path of a tokenizer{TOKENIZER_SUFFIX}; name one")
    return path


Name = Annotated[str, AfterValidator(_plain_name)]
Weights = dict[Name, PositiveFloat]


class DataConfig(Config):
    """A bundled corpus, how it becomes tokens, and the share of documents kept for validation."""

    source: Annotated[str, OneOf(CORPORA, "corpus", elsewhere=NAMED)] = "python-stdlib"
    """The corpus: `python-stdlib` is the standard library of the running Python."""
    tokenizer: str = "byte"
    """`byte`: UTF-8 bytes and an end of document, 257 ids; or the path of a `tokenizer.json`."""
    val_fraction: float = 0.05
    """Share of documents kept for validation."""

    @property
    def identity(self) -> dict[str, Any]:
        """What is said of the text in a run's identity beside its fingerprint: no path."""
        return self.model_dump(mode="json") | ({"tokenizer": None} if self.tokenizer_file else {})

    @property
    def tokenizer_file(self) -> str | None:
        """The path of the tokenizer's file; None for a known name."""
        return self.tokenizer if self.tokenizer.endswith(TOKENIZER_SUFFIX) else None

    @model_validator(mode="after")
    def _split_is_a_split(self) -> Self:
        if not 0 < self.val_fraction < 1:
            problem = f"val_fraction {self.val_fraction} must lie between 0 and 1; try 0.05"
            raise Misfit(problem, "val_fraction")
        return self

    @model_validator(mode="after")
    def _tokenizer_is_known(self) -> Self:
        if self.tokenizer not in TOKENIZERS and not self.tokenizer_file:
            known = suggestion(self.tokenizer, TOKENIZERS)
            problem = (
                f"no such tokenizer; {known}, or give the path of a tokenizer{TOKENIZER_SUFFIX}"
            )
            raise Misfit(problem, "tokenizer")
        return self


class PathConfig(Config):
    """A dataset at a path, in our own format or in a foreign one; its content is its identity."""

    path: Annotated[str, AfterValidator(_written)]
    """Its folder or file, or the URL of its folder: `python -m workloads data prepare` makes one,
    and the formats that `data inspect` knows are read as they are."""
    val: str | None = None
    """The file of the validation split, for formats that do not say where it is."""
    vocab_size: Size | None = None
    """Token ids, for formats that do not say how many there are."""
    rows: Size | None = None
    """Tokens of a row, for files without a header that are rows of so many tokens each."""
    tokenizer: Annotated[str, AfterValidator(_tokenizer_file)] | None = None
    """The path of its `tokenizer.json`, for losses in bits per byte of formats that do not count
    bytes."""

    @property
    def identity(self) -> dict[str, Any]:
        """What is said of the text in a run's identity beside its fingerprint: nothing."""
        return {}


class NamedConfig(Config):
    """A named corpus of the hub, which `python -m study prepare` makes a dataset of."""

    source: Annotated[str, OneOf(NAMED, "corpus")]
    """The corpus, a row of `workloads/data/corpora/named.py`."""
    tokenizer: Annotated[str, AfterValidator(_tokenizer_file)]
    """The path of its `tokenizer.json`."""

    @property
    def identity(self) -> dict[str, Any]:
        """What is said of the text in a run's identity beside its fingerprint: nothing."""
        return {}


def _kind(given: Any) -> str:
    """Return which way of naming a text this is: by the keys that are written, or the class."""
    if isinstance(given, Config):
        return next((kind for kind, each in KINDS.items() if type(given) is each), "bundled")
    if not isinstance(given, Mapping):
        return "bundled"
    if "sources" in given or "mixture" in given:
        return "mixture"
    if "path" in given:
        return "path"
    return "named" if given.get("source") in NAMED else "bundled"


SINGLE: dict[str, type[Config]] = {"bundled": DataConfig, "path": PathConfig, "named": NamedConfig}
OneText = DataConfig | PathConfig | NamedConfig
OneTextField = Annotated[OneText, ByKind(SINGLE, _kind)]


class MixtureConfig(Config):
    """A mixture of texts: which of them a sample comes from is a pure function of its number."""

    sources: Annotated[dict[Name, OneTextField], Field(min_length=1)]
    """The texts, by the names that weights give them."""
    mixture: Weights | None = None
    """The share of the samples that come from each source; left out, the grid's or the point's.
    A source without a weight is left out."""

    @property
    def weights(self) -> Weights:
        """The shares of the sources that are read. Raises Misfit where they are not given."""
        if self.mixture is None:
            written = ", ".join(f"{name}: {1 / len(self.sources):.2g}" for name in self.sources)
            problem = f"the sources have no weights; give some: mixture: {{{written}}}"
            raise Misfit(problem, "data.mixture", "data.sources")
        return self.mixture

    def weighted(self, weights: Weights) -> MixtureConfig:
        """Return the mixture with these weights. Raises Misfit where they do not fit."""
        return MixtureConfig.model_validate({**dict(self), "mixture": weights})

    @property
    def identity(self) -> dict[str, Any]:
        """What is said of the text in a run's identity beside its fingerprint: the weights."""
        return {"mixture": self.weights}

    @model_validator(mode="after")
    def _weighs_its_sources(self) -> Self:
        for name in self.mixture or ():
            if name not in self.sources:
                problem = f"no source has this name; {suggestion(name, self.sources)}"
                raise Misfit(f"{name}: {problem}", "mixture")
        if self.mixture and abs(math.fsum(self.mixture.values()) - 1) > SUM_TOLERANCE:
            total = math.fsum(self.mixture.values())
            raise Misfit(f"the weights sum to {total:.4g}; change them to sum to 1", "mixture")
        return self


KINDS: dict[str, type[Config]] = SINGLE | {"mixture": MixtureConfig}
AnyText = DataConfig | PathConfig | NamedConfig | MixtureConfig
AnyTextField = Annotated[AnyText, ByKind(KINDS, _kind)]
# A text by absolute paths, as `workloads.data.texts.placed` returns it.
PlacedText = PathConfig | MixtureConfig
PLACED: dict[str, type[Config]] = {"path": PathConfig, "mixture": MixtureConfig}
PlacedTextField = Annotated[PlacedText, ByKind(PLACED, _kind)]
EvalSets = dict[Name, OneTextField]


def mixture_label(weights: Mapping[str, float]) -> str:
    """Return a mixture in words, as arms and tables have it: `web 0.8 code 0.2`."""
    return " ".join(f"{name} {weight:g}" for name, weight in weights.items())
