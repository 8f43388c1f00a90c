"""Making the texts of a study: bundled corpora, copies of remote datasets, and named corpora.

The work on a named corpus is that of `python -m workloads data prepare`, spread over Ray: the same
files, whatever machines have worked on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from study.plan.texts import find_texts
from study.running import ray_session
from study.spec.study_file import Resources, StudySpec
from workloads.data import remote
from workloads.data.config import DataConfig, NamedConfig, PathConfig
from workloads.data.corpora.named import NAMED
from workloads.data.preparing.plan import Request, Watcher
from workloads.data.texts import Found, find, named_place, placed_one
from workloads.errors import InputError
from workloads.schema.strict_yaml import Loaded


@dataclass(frozen=True)
class Prepared:
    """A text that is at hand: how the study file names it, and whether it was there before."""

    name: str
    found: Found
    is_new: bool


def prepare_texts(spec: Loaded[StudySpec], data_root: Path, watcher: Watcher) -> Iterator[Prepared]:
    """Make all texts that the study names and that are missing; yield each when it is at hand.

    Ray is started, or the cluster at RAY_ADDRESS joined, only where a named corpus is missing.
    Raises InputError for a text that nothing here can make.
    """
    texts = find_texts(spec, data_root)
    for name, found in texts.named():
        if found.missing and not isinstance(found.text, NamedConfig):
            raise InputError(f"{spec.path}: {name}: {found.missing}; make it: {found.command}")
        if found.missing and isinstance(found.text, NamedConfig):
            _require_tokenizer(spec, name, found.text)
    with ExitStack() as session:
        joined = False
        for name, found in texts.named():
            # Two names of one text: the first has made it.
            before = find(found.text, data_root)
            if before.missing and isinstance(found.text, NamedConfig):
                if not joined:
                    session.enter_context(ray_session.connected(Resources(num_workers=0)))
                    joined = True
                _prepare_named(found.text, data_root, watcher)
            elif _is_made_here(before):
                placed_one(found.text, data_root)
            yield Prepared(name, find(found.text, data_root), before.dataset is None)


def _require_tokenizer(spec: Loaded[StudySpec], name: str, text: NamedConfig) -> None:
    """Raise InputError, with the command that fetches it, where the tokenizer is not at hand."""
    if not Path(text.tokenizer).is_file():
        repository, file = NAMED[text.source].tokenizer, text.tokenizer
        raise InputError(
            f"{spec.path}: {name}: there is no tokenizer at {file}; fetch it: hf download "
            f"{repository} tokenizer.json --local-dir . && mv tokenizer.json {file}"
        )


def _is_made_here(found: Found) -> bool:
    """Return whether a text is a corpus to build, or a dataset to copy."""
    text = found.text
    return isinstance(text, DataConfig) or (
        isinstance(text, PathConfig) and remote.is_url(text.path)
    )


def _prepare_named(text: NamedConfig, data_root: Path, watcher: Watcher) -> None:
    # Ray reads its environment on import, which `ray_session.connected` has set by now.
    from study.corpus.ray_map import mapped
    from workloads.data.preparing.prepare import prepare

    row = NAMED[text.source]
    request = Request(
        sources=row.files,
        tokenizer=str(Path(text.tokenizer).resolve()),
        out=named_place(text, data_root).resolve(),
        recipe=row.recipe,
        text_field=row.text_field,
    )
    prepare(request, mapped, watcher)
