"""What a preparation is asked for, and the work that it is found to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from workloads.data.manifest import DataError, PreparedManifest, TokenizerEntry
from workloads.data.preparing.assembly import Purpose
from workloads.data.preparing.documents import Condition
from workloads.data.preparing.hub import HUB_FOLDER
from workloads.data.preparing.parts import PartEntry
from workloads.data.preparing.pieces import Scan, Settings, Unit, scan, scan_groups, units_of
from workloads.data.preparing.processes import MapFunction
from workloads.data.preparing.recipes.recipe import Recipe
from workloads.data.preparing.recipes.table import DEFAULT_RECIPE, RECIPES
from workloads.data.preparing.sources import Input, find_inputs, is_utf8, require_apart
from workloads.data.tokenizers.table import TOKENIZERS, load_tokenizer
from workloads.data.tokenizers.tokenizer import Tokenizer
from workloads.schema.known_names import suggestion


@dataclass(frozen=True)
class Request:
    """What `prepare` is asked for; None stands for what the recipe has.

    `tokenizer` is a name or a path, and `where` are filters, FIELD=VALUE or FIELD!=VALUE.
    """

    sources: tuple[str, ...]
    tokenizer: str
    out: Path
    recipe: str = DEFAULT_RECIPE
    text_field: str | None = None
    val_fraction: float | None = None
    where: tuple[str, ...] = ()
    drop_duplicates: bool = False
    skip_bad: bool = False
    gigatoken: bool = False


@dataclass(frozen=True)
class Plan:
    """The work of a preparation, known once its inputs were scanned.

    `inputs` are those that can be read, in the order in which `purpose` has them.
    """

    inputs: tuple[Input, ...]
    units: tuple[Unit, ...]
    settings: Settings
    purpose: Purpose


class Watcher(Protocol):
    """What is told how a preparation goes on."""

    def scanning(self, inputs: int, size: int) -> None:
        """Note that so many inputs, of so many bytes as stored, are read for their hashes."""

    def skipped(self, problem: str) -> None:
        """Note the problem of a file, or of the first row of a piece, that is left out."""

    def tokenizing(self, finished: int, left: int) -> None:
        """Note the bytes of text that are finished already, and those that are left."""

    def tokenized(self, part: PartEntry) -> None:
        """Note that a piece is finished."""

    def replacing(self, earlier: PreparedManifest) -> None:
        """Note that a finished dataset is going to be replaced by another one."""

    def assembling(self) -> None:
        """Note that all pieces are finished."""


def plan_pieces(request: Request, map_function: MapFunction, watcher: Watcher) -> Plan:
    """List and scan the inputs of a request. Raises DataError where they cannot be used."""
    recipe, tokenizer = _recipe(request), load_tokenizer(request.tokenizer, request.gigatoken)
    settings = _settings(request, recipe, tokenizer)
    inputs = find_inputs(request.sources, request.out / HUB_FOLDER)
    require_apart(inputs, request.sources, request.out)
    recipe.check(inputs)
    for each in inputs:
        if request.where and each.kind == "text":
            raise DataError(f"{each.path}: is plain text, which has no fields for --where")
    watcher.scanning(len(inputs), sum(each.size for each in inputs))
    scans: dict[str, Scan] = {}
    for found in map_function(scan, scan_groups(inputs)):
        scans |= found
    readable = _readable(inputs, scans, request.skip_bad, watcher)
    fraction = recipe.val_fraction if request.val_fraction is None else request.val_fraction
    purpose = Purpose(
        recipe=request.recipe,
        tokenizer=TokenizerEntry(
            name=tokenizer.name,
            sha256=tokenizer.sha256,
            vocab_size=tokenizer.vocab_size,
            end_of_document=tokenizer.end_of_document,
        ),
        text_field=settings.text_field,
        where=settings.where,
        val_fraction=fraction,
        drop_duplicates=request.drop_duplicates,
        inputs=tuple(
            (name, scans[each.path].sha256, each.size)
            for name, each in zip(_distinct_names(readable), readable, strict=True)
        ),
        skipped_files=len(inputs) - len(readable),
    )
    units = [unit for each in readable for unit in units_of(each, scans[each.path], settings)]
    return Plan(tuple(readable), tuple(units), settings, purpose)


def _recipe(request: Request) -> Recipe:
    if request.recipe not in RECIPES:
        raise DataError(f"--recipe {request.recipe}: {suggestion(request.recipe, RECIPES)}")
    fraction = request.val_fraction
    if fraction is not None and not 0 <= fraction < 1:
        raise DataError(f"--val-fraction {fraction} must be at least 0 and below 1; try 0.01")
    return RECIPES[request.recipe]


def _settings(request: Request, recipe: Recipe, tokenizer: Tokenizer) -> Settings:
    where = (*recipe.where, *request.where)
    for condition in where:
        Condition.parse(condition)
    name = request.tokenizer
    place = name if name in TOKENIZERS else str(Path(name).absolute())
    field = request.text_field or recipe.text_field
    for text in (field, tokenizer.name, *where):  # The manifest has them.
        if not is_utf8(text):
            raise DataError(f"{text}: is not UTF-8; write it so")
    return Settings(place, tokenizer.sha256, field, where, request.gigatoken)


def _distinct_names(inputs: Sequence[Input]) -> list[str]:
    """Return the names of inputs. Those of one name have as many of the folders above them in front
    as tell them apart."""
    groups: dict[str, list[Input]] = {}
    for each in inputs:
        groups.setdefault(each.name, []).append(each)
    names = {}
    for name, group in groups.items():
        parts, count = [PurePosixPath(each.path).parts for each in group], 0
        if len(group) > 1:
            count = len(PurePosixPath(name).parts)
            while len({each[-count:] for each in parts}) < len(group):
                count += 1
        for each, path in zip(group, parts, strict=True):
            names[each.path] = "/".join(path[-count:]) if count else name
    return [names[each.path] for each in inputs]


def _readable(
    inputs: list[Input], scans: dict[str, Scan], skip_bad: bool, watcher: Watcher
) -> list[Input]:
    """Return the inputs without those that cannot be read, which are an error or skipped."""
    readable = []
    for each in inputs:
        problem = scans[each.path].problem
        if problem is None:
            readable.append(each)
        elif skip_bad:
            watcher.skipped(problem)
        else:
            raise DataError(problem)
    return readable
