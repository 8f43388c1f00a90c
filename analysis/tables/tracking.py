"""MLflow's stores by their tracking URI: opening one that is there, and why one cannot be used.

Whatever MLflow, its database or its server raises becomes a LedgerError, which names the store, the
real cause and the cure in one line. An SQLite store is also read directly, because to import
MLflow's client takes most of two seconds.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import shlex
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from analysis.tables.errors import RunTableError, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

HTTP = ("http://", "https://")
# MLflow's own defaults have a call to a server that is away last four minutes.
CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
ANSWER_SECONDS = 5.0
# What is read. MLflow's client makes a table anew that is gone, empty, without a word.
TABLES = ("experiments", "experiment_tags", "runs", "tags", "params", "metrics", "latest_metrics")
PAGE = 1000  # runs in one answer of MLflow
LOCK_SECONDS = 10.0  # drivers lock an SQLite store for milliseconds
# Names of packages on PyPI, where the module has another one.
DRIVERS = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
CORRECT = "correct the tracking URI (MLFLOW_TRACKING_URI, --mlflow)"
WRITE = "write http://HOST:PORT or sqlite:////ABSOLUTE/PATH/mlflow.db"
RESTORE = (
    "put a copy of it in its place, or move it away: `python -m study run` then records anew what "
    "the directories of the runs hold"
)


class LedgerError(RunTableError):
    """The error of a store that cannot be used: what was found, and the cure."""

    def __init__(self, found: str, cure: str) -> None:
        super().__init__(f"{found}; {cure}")
        self.found, self.cure = found, cure


def address(path: Path) -> str:
    """Return the tracking URI of an SQLite store, whatever characters its path has."""
    if not set(str(path)) & set("%?#"):
        return f"sqlite:///{path}"
    from sqlalchemy import URL

    # Named with its driver, MLflow makes no folder that is called as the escaped path.
    return URL.create("sqlite+pysqlite", database=str(path)).render_as_string()


def database(uri: str) -> Path | None:
    """Return the file of an SQLite store, None for a store of another kind.

    Raises LedgerError for the URI of an SQLite store without a file.
    """
    if not uri.startswith(("sqlite:", "sqlite+pysqlite:")):
        return None
    if set(uri) & set("%?"):
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            name = make_url(uri).database or ""
        except (ArgumentError, ValueError):
            name = ""
    else:
        name = uri.partition(":///")[2]
    if not name or name.startswith((":memory:", "file:")):
        raise LedgerError(f"{without_password(uri)} names no file", WRITE)
    return Path(name).absolute()


def shown(uri: str) -> str:
    """Return how messages name a store: by its file, or by its URI without the password."""
    return str(database(uri) or without_password(uri))


def without_password(text: str) -> str:
    """Return a URI, or words that may hold one, with `***` for the password.

    All up to the last `@` counts: a password may hold an `@` or `/` that should be escaped.
    """
    text = re.sub(r"((?:^|://)[^/@:]*):(?!//).*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&;](?:password|passwd|pwd|odbc_connect)=)[^&;]*", r"\1***", text)


def without_login(uri: str) -> str:
    """Return the address of a server without user and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Connect to the database of an SQLite store, to read it.

    Raises LedgerError when it is not a whole store, cannot be read, or stays locked.
    """
    try:
        # Not `mode=ro`: what a killed writer left half done could not be rolled back.
        source = f"file:{quote(os.fsencode(path))}?mode=rw"
        if path.exists() and not path.is_file():
            raise sqlite3.DatabaseError("not a file")
        with closing(sqlite3.connect(source, uri=True, timeout=LOCK_SECONDS)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise _of_database(path, str(error)) from error


@contextmanager
def opened(uri: str) -> Iterator[MlflowClient]:
    """Open a store that is there with MLflow's client, which gives up in seconds.

    Raises LedgerError when that is not possible, and for what MLflow raises within the context.
    """
    path = database(uri)
    if path is not None:
        _check_whole(path)
        uri = address(path)
    elif uri.startswith(HTTP):
        _check_answers(uri)
    else:
        _check_scheme(uri)
    with explained(uri):
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        client.search_experiments(max_results=1)  # MLflow connects at the first question
        yield client


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow raises within the context into a LedgerError with the real cause."""
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # Their notes would stand between the lines of progress; errors are raised as well.
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError, ModuleNotFoundError) as error:
        raise cause(uri, error) from error


def experiment_id(client: MlflowClient, name: str) -> str | None:
    """Return the id of the experiment of that name, None if there is none.

    Raises LedgerError when it was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        return None
    if found.lifecycle_stage == "deleted":
        raise deleted(client.tracking_uri, name, found.experiment_id)
    return found.experiment_id


def find_runs(
    client: MlflowClient, experiment_id: str, condition: str = "", order: str | None = None
) -> Iterator[Run]:
    """Search an experiment page by page: all its runs that meet a condition.

    Args:
        client: of the ledger.
        experiment_id: of the experiment in MLflow.
        condition: in MLflow's filter language; empty for every run.
        order: the column to sort by, in MLflow's words; left out, the latest run comes first.
    """
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id],
            condition,
            max_results=PAGE,
            order_by=[order] if order else None,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def deleted(uri: str, name: str, number: str) -> LedgerError:
    """Return the error of an experiment that someone deleted."""
    restore = command(uri, f"experiments restore --experiment-id {number}")
    return LedgerError(
        f"experiment {name} in {shown(uri)} was deleted in MLflow",
        f"restore it with all its runs: {restore}",
    )


def edited(run_id: str, point_id: str, what: str) -> LedgerError:
    """Return the error of a run whose record someone edited."""
    return LedgerError(
        f"run {run_id} of point {point_id} {what}: someone has edited it in MLflow",
        f"set it back there, or take the run out: python -m study drop SPEC {point_id}",
    )


def command(uri: str, words: str) -> str:
    """Return a command line of MLflow's for this store."""
    return f"MLFLOW_TRACKING_URI={shlex.quote(without_password(uri))} python -m mlflow {words}"


def cause(uri: str, error: Exception) -> LedgerError:
    """Return the real cause of an error that MLflow raised, with its cure."""
    text, path = first_line(error).replace(uri, without_password(uri)), database(uri)
    if isinstance(error, ModuleNotFoundError):
        needed = error.name or text
        found = f"{shown(uri)} needs the package {needed}, which is not installed"
        return LedgerError(found, f"pip install {DRIVERS.get(needed, needed)}")
    if schema := re.search(r"(?:found version|revision identified by) '?(\w+)", text):
        return _of_schema(uri, schema[1])
    if path is not None:
        return _of_database(path, text)
    if uri.startswith(HTTP):
        return _of_server(uri, text)
    if "unsupported URI" in text or "Can't load plugin" in text or "Could not parse" in text:
        return LedgerError(f"{shown(uri)} is of no kind that MLflow knows", WRITE)
    if "filesystem tracking backend" in text:
        found = f"{shown(uri)} is a folder of files, which MLflow no longer writes"
        return LedgerError(found, WRITE)
    if "Unity Catalog" in text:
        return LedgerError(
            f"{shown(uri)} is a Unity Catalog, which keeps models and no runs", WRITE
        )
    if "Databricks credential" in text:
        return LedgerError(
            f"Databricks at {shown(uri)} knows no login of this user",
            "pip install databricks-sdk, then set DATABRICKS_HOST and DATABRICKS_TOKEN",
        )
    if re.search(r"password authentication failed|no password supplied|Access denied", text):
        return LedgerError(
            f"the database at {shown(uri)} does not let this user in",
            "correct user and password in MLFLOW_TRACKING_URI",
        )
    return LedgerError(
        f"MLflow at {shown(uri)} does not answer ({text})", f"start it, or {CORRECT}"
    )


def _check_whole(path: Path) -> None:
    """Raise LedgerError unless this is the database of a store that MLflow made to its end."""
    if not path.exists():
        raise LedgerError(f"{path}: no such file", CORRECT)
    with connected(path) as connection:
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        for table in TABLES:
            connection.execute(f"SELECT 1 FROM {table} LIMIT 1")
    if version is None:
        raise _of_database(path, "no such table")


def _check_scheme(uri: str) -> None:
    """Raise LedgerError for what is no URI, but the path, or the host and port, that one needs."""
    if not uri.strip():
        raise LedgerError("the tracking URI is blank", f"{WRITE}, or unset MLFLOW_TRACKING_URI")
    place = Path(uri.removeprefix("file://").removeprefix("file:")).absolute()
    if place.is_file():
        raise LedgerError(f"{uri} is a file, and no URI of one", f"write {address(place)}")
    if re.match(r"[\w.-]+:\d+(/|$)", uri):
        raise LedgerError(f"{uri} has no scheme", f"write http://{uri}")
    if not re.match(r"[\w+.-]+://|(file|uc):|databricks", uri) and not place.exists():
        raise LedgerError(f"{without_password(uri)} is no URI, and nothing is there", WRITE)


def _check_answers(uri: str) -> None:
    """Raise LedgerError when nothing answers at an address, which MLflow's client asks for long."""
    try:
        parts = urlsplit(uri)
        complete = parts.hostname and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        complete = False
    if not complete:
        raise LedgerError(f"{shown(uri)} lacks a host, or has a port that is none", WRITE)
    health = f"{without_login(uri).rstrip('/')}/health"
    try:
        with urllib.request.urlopen(health, timeout=ANSWER_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # an answer, too
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise LedgerError(
            f"MLflow at {shown(uri)} does not answer ({reason})", f"start it, or {CORRECT}"
        ) from None


def _of_server(uri: str, text: str) -> LedgerError:
    place = f"the server at {shown(uri)}"
    code = re.search(r"error code (\d{3}) != ", text)
    if (code and code[1] in ("401", "403")) or re.match(r"UNAUTH|PERMISSION|CUSTOMER_UNAUTH", text):
        login = (
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
        return LedgerError(f"{place} does not let this user in", login)
    if (code and code[1].startswith("5")) or re.match(r"INTERNAL_ERROR|TEMPORARILY", text):
        return LedgerError(f"{place} fails ({text.partition('. Response')[0]})", "see its own log")
    if code or "not in a valid JSON" in text:
        answer = f"it answers {code[1]}" if code else "its answers are not MLflow's"
        return LedgerError(f"{place} is not MLflow: {answer}", CORRECT)
    if "failed with" in text:
        return LedgerError(f"MLflow at {shown(uri)} does not answer ({text})", "start it again")
    return LedgerError(f"{place} refuses: {text}", "see its pages, or its own log")


def _of_schema(uri: str, version: str) -> LedgerError:
    import mlflow

    place, known = shown(uri), Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    if version != "None" and not any(known.glob(f"{version}_*.py")):
        found = f"{place} was made by a newer MLflow than {mlflow.__version__}, which is installed"
        return LedgerError(found, "install the newer one: pip install -U mlflow")
    store = shlex.quote(without_password(uri))
    upgrade = f"copy it, then run: python -m mlflow db upgrade {store}"
    return LedgerError(f"{place} has the tables of an older MLflow", upgrade)


def _of_database(path: Path, text: str) -> LedgerError:
    """Return the cause and cure of what SQLite, or MLflow on it, says of a store."""
    text = re.sub(r"^\(sqlite3\.\w+\) ", "", text)
    if path.exists() and not path.is_file():
        return LedgerError(f"{path} is not a file", "move it away: the ledger belongs there")
    if re.search("not a database|no such table", text) and not os.path.getsize(path):
        return LedgerError(f"{path} is empty, and no ledger", RESTORE)
    causes = {
        "locked": ("is locked by another program", "wait for that program, or end it"),
        "not a database|malformed": (f"is damaged ({text})", RESTORE),
        "no such (table|column)": (f"is not a whole ledger ({text})", RESTORE),
        "is full|disk I/O": (
            f"cannot be written or read: its disk is full or failing ({text})",
            "free some space, or raise the limit on the size of files (ulimit -f)",
        ),
        "readonly|unable to open": (
            f"cannot be opened ({text})",
            "give this user the right to read and write it, and its folder",
        ),
    }
    for pattern, (found, cure) in causes.items():
        if re.search(pattern, text):
            return LedgerError(f"{path} {found}", cure)
    return LedgerError(f"MLflow refuses {path}: {text}", "see its pages: python -m study ui SPEC")
