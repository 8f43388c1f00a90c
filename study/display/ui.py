"""MLflow's own pages, opened on the runs table of one study.

Which columns the table shows is a view that MLflow shares under a key: an experiment tag that
holds the view, and `viewStateShareKey` in the address. What is the same in every point is left
out of it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from contextlib import suppress

from analysis.tables import tracking
from study.ledger import copy, reader, store
from study.plan.planner import Study
from study.search.samples import with_recorded
from workloads.errors import InputError

LOOPBACK = "127.0.0.1"
FIRST_PORT = 5000  # MLflow's own
START_SECONDS = 120.0
VIEW_KEY = "study"
# MLflow opens on its pages for GenAI unless told otherwise.
QUERY = f"workflowType=machine_learning&viewStateShareKey={VIEW_KEY}"
# MLflow shows metrics before parameters, both in alphabetical order: what is not a loss would push
# the losses, or the arm and the mixture, out of the window.
METRICS = ("val_loss", "bits_per_byte")
FOLLOWS = {  # planned quantities that follow from those that are shown
    "ffn_fraction",
    "ffn_params",
    "growth_factor",
    "base_train_flops",
    "passes",
    "steps",
    "tokens_per_step",
}
# How a run ended, and why or where.
TAGS = ("status", "failure", "hardware")


def open_ui(study: Study) -> None:
    """Show the study in MLflow's UI: print its address, and serve it until Ctrl-C if it is local.

    A ledger on a server has a UI already; a database gets one on loopback only. Raises InputError
    when the study has no runs yet.
    """
    uri = store.tracking_uri(study.runs_dir)
    records = reader.read(uri, study.name)
    if not records:
        place = tracking.shown(uri)
        raise InputError(
            f"study {study.name} has no runs in {place} yet; start it, then look again"
        )
    study = with_recorded(study, records)
    page = f"/#/experiments/{_share_view(uri, study)}/runs?{QUERY}"
    if uri.startswith(tracking.HTTP):
        _show(tracking.without_login(uri).rstrip("/") + page)  # the page asks for it
    else:
        _serve(uri, page)


def view(study: Study) -> dict[str, object]:
    """Return a view of the runs table, as MLflow stores it: the columns that vary between points
    and do not follow from others, and the loss on every text, best loss first, without the study's
    own run, which has no point id."""
    rows = [point.summary() for point in study.points]
    names = dict.fromkeys(name for row in rows for name in row)
    varying = [
        name
        for name in names
        if name not in FOLLOWS and len({str(row.get(name)) for row in rows}) > 1
    ]
    columns = [_column("tags", "status"), _column("metrics", "val_loss")]
    columns += [_column("params", name) for name in varying]
    columns += [_column("metrics", name) for name in (*study.texts.losses, *METRICS)]
    columns += [_column("tags", name) for name in TAGS]
    return {
        "selectedColumns": list(dict.fromkeys(columns)),
        "searchFilter": "tags.`point_id` LIKE '%'",
        "orderByKey": _column("metrics", "val_loss"),
        "orderByAsc": True,
    }


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _share_view(uri: str, study: Study) -> str:
    """Store the view and the kind of the experiment, which is not GenAI; return its id."""
    tags = {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW_KEY}": json.dumps(view(study)),
    }
    with store.opened(uri) as client:
        experiment = copy.experiment_id(client, study.name)
        for name, value in tags.items():
            client.set_experiment_tag(experiment, name, value)
    return experiment


def _serve(uri: str, page: str) -> None:
    port = _free_port()
    for number in (signal.SIGINT, signal.SIGTERM):  # either of them also ends the server
        signal.signal(number, signal.default_int_handler)
    options = {"--host": LOOPBACK, "--port": port, "--workers": 1}
    words = [str(word) for option in options.items() for word in option]
    # The store's address may hold a password, and every user can read a process's arguments. The
    # job runner is for GenAI evaluations: five processes that a study has no use for.
    settings = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *words],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # its workers are ended with it
    )
    try:
        _wait(server, f"http://{LOOPBACK}:{port}")
        _show(f"http://{LOOPBACK}:{port}{page}")
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _free_port() -> int:
    for port in range(FIRST_PORT, FIRST_PORT + 100):
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) != 0:
                return port
    raise InputError(f"ports {FIRST_PORT} to {FIRST_PORT + 99} are all in use; free one")


def _wait(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise InputError(f"MLflow's UI did not start at {address}; try: mlflow server --port 5001")


def _show(address: str) -> None:
    print(address, flush=True)
    # Without a graphical session a browser would be one in this terminal, or none.
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin":
        webbrowser.open(address)
