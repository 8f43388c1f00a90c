"""Where the texts of a launch lie: paths that every worker can open."""

from __future__ import annotations

from study.plan.cautions import require_trainable
from study.plan.planner import Study
from workloads.data.config import AnyText, MixtureConfig, OneText, PathConfig, PlacedText
from workloads.data.texts import placed_one, used_sources
from workloads.errors import InputError


class Places:
    """The paths of a study's texts. Bundled corpora are built, and datasets at URLs copied, when
    they are first asked for.

    Raises InputError, with the command that makes it, for a text that is missing, and for texts
    whose losses would say nothing.
    """

    def __init__(self, study: Study) -> None:
        if missing := study.texts.missing(study.spec.path):
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(f"{study.spec.path}: {missing[0]}{more}")
        require_trainable(study)
        self._root = study.data_root
        self._known: dict[str, PathConfig] = {}
        self.eval_sets = {
            name: placed_one(text, self._root) for name, text in study.spec.value.eval_sets.items()
        }

    def of(self, data: AnyText) -> PlacedText:
        """Return the text of a run by absolute paths."""
        if not isinstance(data, MixtureConfig):
            return self._of_source("", data)
        sources = {name: self._of_source(name, each) for name, each in used_sources(data).items()}
        return MixtureConfig.model_validate({"sources": sources, "mixture": data.weights})

    def _of_source(self, name: str, text: OneText) -> PathConfig:
        if name not in self._known:
            self._known[name] = placed_one(text, self._root)
        return self._known[name]
