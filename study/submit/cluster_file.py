"""The file that `study submit --cluster` names: what a study takes of a cluster.

It is a file of its own, and no section of the study file: what a run is stays apart from where it
runs, so that a published study file names nobody's account.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import jinja2
from pydantic import NonNegativeInt, PositiveInt

from study.ledger.provenance import ROOT
from study.plan.planner import Study
from study.progress import estimate
from study.running import ray_session
from workloads.errors import InputError
from workloads.schema.base import Config
from workloads.schema.strict_yaml import Loaded

# A job's time limit over what its longest point is planned to take, and hours beside it: for the
# start of Ray, the preflight, evaluations and checkpoints.
MARGIN, HOURS_BESIDE = 1.5, 0.5
UNKNOWN_HOURS = 24


class NodeOptions(Config):
    """The nodes of a cluster, as every back-end takes them."""

    nodes: PositiveInt = 1
    """The most nodes that the study may have; it takes no more than train its points at once."""
    cpus_per_node: PositiveInt
    """CPU cores of a node."""
    gpus_per_node: NonNegativeInt = 0
    """GPUs of a node."""


Options = TypeVar("Options", bound=NodeOptions)


def node_count(study: Study, given: Loaded[Options]) -> int:
    """Return how many nodes the study takes: all that train its points at once, if there are so
    many. Raises InputError where all nodes together hold no point."""
    resources, most = study.spec.value.resources, given.value.nodes
    node = {"CPU": float(given.value.cpus_per_node), "GPU": float(given.value.gpus_per_node)}
    node[f"accelerator_type:{resources.accelerator_type}"] = 1.0
    try:
        places = ray_session.places(resources, [node] * most)
    except InputError as error:
        raise given.error(("nodes",), str(error)) from None
    if study.searched or places <= len(study.points):
        return most
    workers = max(1, resources.num_workers) * len(study.points)
    return math.ceil(
        workers / ray_session.places(resources.model_copy(update={"num_workers": 1}), [node])
    )


def limit_hours(study: Study) -> int:
    """Return the whole hours that a job gets: enough for the longest point, with a margin.

    A point that is not done by then goes on in the next job.
    """
    if study.gpus_per_point:
        prices = [study.price(point) for point in study.points]
        seconds = [
            3600 * each.hours[study.hardware.accelerator] / study.gpus_per_point for each in prices
        ]
    else:
        by_point, _ = estimate.point_seconds(study.points, {}, study.spec.value.resources)
        seconds = [*by_point.values()]
    if not seconds:
        return UNKNOWN_HOURS
    return math.ceil(HOURS_BESIDE + MARGIN * max(seconds) / 3600)


def fill(template: str, **values: Any) -> str:
    """Return a template of the folder `cluster` with these values in it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "cluster"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # a shell script, and YAML whose values are JSON
    )
    environment.filters["json"] = json.dumps  # quoted, as YAML reads it
    return environment.get_template(template).render(values)
