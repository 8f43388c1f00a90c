"""What to know of a plan: where its points may say less than they seem to, or nothing at all."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.tables.passes import MOST_PASSES
from study.plan.planner import Study
from study.plan.points import Point
from workloads.cost.flops import train_flops_at
from workloads.data.comparable import require_comparable
from workloads.data.dataset import require_shares
from workloads.data.manifest import DataError


def cautions(study: Study) -> list[str]:
    """Return sentences on repeated text, on validation text, on tokens that are hardly text, on
    a scheduler that stops none and on transfer rules outside the range they are known in."""
    checks = (_repeats, _validation, _texts, _scheduler, _rules)
    return [sentence for check in checks for sentence in check(study)]


def require_trainable(study: Study) -> None:
    """Raise InputError where nothing may be trained on the texts, because the losses would say
    nothing. Runs that were recorded are read all the same."""
    for name, found in study.texts.named():
        if found.unfit:
            where = ("data", *name.split(".")) if name.startswith("sources.") else name.split(".")
            raise study.spec.error(tuple(where), found.unfit)
    try:
        require_comparable(study.texts.sources, study.texts.eval_sets)
        for point in study.points:
            require_shares({name: each.weight for name, each in point.text.sources.items()})
    except DataError as error:
        place = "eval_sets" if str(error).startswith("eval_sets") else "data"
        raise study.spec.error((place,), str(error)) from None


def most_passes(study: Study) -> float:
    """Return the most passes over the training text that a point or a sample makes; 0 where the
    size of the text is not known."""
    points = [point.passes or 0.0 for point in study.points]
    return max(points + [space.max_passes for space in study.searched])


def most_passes_by_source(study: Study) -> dict[str, float]:
    """Return the most passes that a point makes over each source of a known size, by name."""
    most: dict[str, float] = {}
    for point in study.points:
        for name, passes in point.passes_by_source.items():
            most[name] = max(passes, most.get(name, 0.0))
    return most


def passes_text(passes: float | None) -> str:
    """Return a number of passes: two digits, and whole from 10 on; a dash for None."""
    if passes is None:
        return "-"
    return f"{passes:.0f}" if passes >= 10 else f"{passes:.2g}"


def _repeats(study: Study) -> Iterator[str]:
    most = most_passes(study)
    if most > MOST_PASSES:
        repeating = sum((point.passes or 0) > MOST_PASSES for point in study.points)
        points = f"{repeating} of {len(study.points)} points" if study.points else "samples"
        yield (
            f"{points} make more than {MOST_PASSES} passes over the training text"
            f"{_tokens_of(study)}, {passes_text(most)} at most: from there on, repeated text is "
            "worth less than fresh text (arXiv 2305.16264)"
        )


def _tokens_of(study: Study) -> str:
    """Return how many tokens the training text has; nothing for a mixture of several."""
    sizes = [found.size for found in study.texts.sources.values()]
    return f" of {sizes[0].train_tokens:,} tokens" if len(sizes) == 1 and sizes[0] else ""


def _validation(study: Study) -> Iterator[str]:
    wanted = max((point.config.eval_tokens for point in study.points), default=0)
    for name, found in study.texts.named():
        share = wanted // len(study.texts.sources) if name.startswith("sources.") else wanted
        if found.size and share > (held := found.size.val_tokens):
            of_it = "" if name == "data" else f" of {name}"
            yield (
                f"an evaluation reads the whole validation text{of_it}, {held:,} tokens: that is "
                f"less than eval_tokens, {share:,}"
            )


def _texts(study: Study) -> Iterator[str]:
    for name, found in study.texts.named():
        for sentence in found.cautions:
            yield f"{name}: {sentence}"


def _rules(study: Study) -> Iterator[str]:
    told = dict.fromkeys(text for point in study.points for text in point.rule_cautions)
    for text in told:
        saying = [point.id for point in study.points if text in point.rule_cautions]
        others = f" and {len(saying) - 1} more" if len(saying) > 1 else ""
        yield f"{saying[0]}{others}: {text}"


def _scheduler(study: Study) -> Iterator[str]:
    chosen = study.spec.value.scheduler
    if (
        chosen
        and study.points
        and not any(_compared(point, chosen.asha.grace_flops) for point in study.points)
    ):
        yield (
            "asha stops no point: none is evaluated between grace_flops and its end; lower "
            "grace_flops or runtime.eval_interval"
        )


def _compared(point: Point, grace_flops: float) -> bool:
    """Return whether the point is evaluated after so many training FLOPs and before its end."""
    run = point.config
    evaluated = (run.total_steps - 1) // run.runtime.eval_interval * run.runtime.eval_interval
    return evaluated > 0 and train_flops_at(run, evaluated) >= grace_flops
