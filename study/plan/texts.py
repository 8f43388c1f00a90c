"""The texts of a study, looked up before anything is trained: how much there is, and what is
missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from study.plan.points import Source, Text
from study.spec.study_file import StudySpec
from workloads.data.config import AnyText, MixtureConfig, NamedConfig, OneText, PathConfig
from workloads.data.dataset import mixed_fingerprint, require_one_vocabulary
from workloads.data.manifest import DataError
from workloads.data.texts import Found, find
from workloads.schema.strict_yaml import Loaded, Location


@dataclass(frozen=True)
class Texts:
    """What is known of each text: of the sources by name, one without a name where there is no
    mixture, and of the evaluation sets by name."""

    sources: Mapping[str, Found]
    eval_sets: Mapping[str, Found]

    def of(self, data: AnyText) -> Text:
        """Return the text of a run with this data."""
        weights = data.weights if isinstance(data, MixtureConfig) else {"": 1.0}
        used = {name: self.sources[name] for name in weights}
        prints = {name: each.fingerprint for name, each in used.items()}
        return Text(
            fingerprint=mixed_fingerprint(prints)
            if isinstance(data, MixtureConfig)
            else prints[""],
            sources={name: Source(each, weights[name]) for name, each in used.items()},
            eval_sets=self.eval_sets,
            at_hand=not any(each.missing for each in (*used.values(), *self.eval_sets.values())),
        )

    @property
    def losses(self) -> list[str]:
        """The metrics of the losses on sources of a mixture and on evaluation sets."""
        return [f"val_loss/{name}" for name in (*self.sources, *self.eval_sets) if name]

    def named(self) -> Iterator[tuple[str, Found]]:
        """Yield every text with how the study file names it: `data`, `sources.web`,
        `eval_sets.wiki`."""
        for name, found in self.sources.items():
            yield (f"sources.{name}" if name else "data"), found
        for name, found in self.eval_sets.items():
            yield f"eval_sets.{name}", found

    def missing(self, spec: Path) -> list[str]:
        """Return a line about each text that is not at hand, with the command that makes it."""
        return [
            f"{name}: {found.missing}; make it: {command(found, spec)}"
            for name, found in self.named()
            if found.missing
        ]


def command(found: Found, spec: Path) -> str:
    """Return the command that makes a missing text of a study."""
    named = isinstance(found.text, NamedConfig)
    return f"python -m study prepare {spec}" if named else found.command


def find_texts(spec: Loaded[StudySpec], data_root: Path) -> Texts:
    """Look the study's texts up. Raises InputError where one is damaged, has no document for a
    split, or has another vocabulary than the rest of its mixture."""
    data = spec.value.data
    mixed = isinstance(data, MixtureConfig)
    given = {name: ("data", "sources", name) for name in data.sources} if mixed else {"": ("data",)}
    texts = data.sources if mixed else {"": data}
    sources = {name: _found(spec, where, texts[name], data_root) for name, where in given.items()}
    try:
        require_one_vocabulary({name: each.size for name, each in sources.items() if each.size})
    except DataError as error:
        raise spec.error(("data", "sources"), str(error)) from None
    eval_sets = {
        name: _found(spec, ("eval_sets", name), text, data_root)
        for name, text in spec.value.eval_sets.items()
    }
    return Texts(sources, eval_sets)


def _found(spec: Loaded[StudySpec], where: Location, text: OneText, data_root: Path) -> Found:
    try:
        return find(text, data_root)
    except DataError as error:
        raise spec.error((*where, _blamed(text)), str(error)) from error


def _blamed(text: OneText) -> str:
    """Return the key that a text that cannot be used is likely wrong in."""
    if isinstance(text, PathConfig):
        return "path"
    return "tokenizer" if isinstance(text, NamedConfig) else "val_fraction"
