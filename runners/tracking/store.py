"""Where MLflow records, and its client, connected and asked for runs page by page."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lossfleet.conf.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

DEFAULT_URI = "sqlite:///mlflow.db"
# What MLflow takes.
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")
SECONDS_TO_ANSWER = 5
RUNS_A_PAGE = 1000


def tracking_uri(uri: str | None) -> str:
    """Where MLflow records: the argument, else MLFLOW_TRACKING_URI, else mlflow.db in the working directory.

    Raises:
        UserError: for what is no database and no server, such as a folder, which MLflow no longer takes.
    """
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    scheme, separator, place = chosen.partition("://")
    if not separator or not place.strip("/") or scheme.partition("+")[0] not in SCHEMES:
        raise UserError(
            what=f"the tracking URI is {shown_uri(chosen)}",
            expected=f"a database or a server: {', '.join(f'{each}://...' for each in SCHEMES)}",
            hint=f"write for example tracking.uri={DEFAULT_URI} or tracking.uri=http://127.0.0.1:5000",
        )
    if is_local(chosen) and not database_path(chosen).parent.is_dir():
        raise UserError(
            what=f"the tracking URI is {chosen}, and there is no folder {database_path(chosen).parent}",
            expected="a database in a folder that exists",
            hint="make the folder, or write for example tracking.uri=sqlite:///mlflow.db",
        )
    return chosen


def is_local(uri: str) -> bool:
    """Whether the store is a database file on this machine."""
    return uri.startswith("sqlite:")


def shown_uri(uri: str) -> str:
    """A URI without the password that it may hold."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def absolute_uri(uri: str) -> str:
    """The URI as it means the same from any working directory."""
    return f"sqlite:///{database_path(uri).absolute()}" if is_local(uri) else uri


def database_path(uri: str) -> Path:
    """The file of a local database."""
    return Path(uri.partition("://")[2].removeprefix("/"))


def require_store(uri: str) -> None:
    """Raises where a local database is missing, which MLflow would create.

    Raises:
        UserError: no file, or not a database of MLflow.
    """
    if not is_local(uri):
        return
    path = database_path(uri)
    if not path.is_file() or not _has_experiments(path):
        raise UserError(
            what=f"there is no MLflow database {path}",
            expected="the store of an earlier sweep",
            hint="run lossfleet sweep first, or name the store with MLFLOW_TRACKING_URI",
        )
    _require_current(path)


def require_active(uri: str, experiment: str) -> None:
    """Raises where MLflow would refuse every run.

    Raises:
        UserError: a local database of another version of MLflow, or one that has this experiment as a deleted one.
    """
    path = database_path(uri)
    if not is_local(uri) or not path.is_file() or not _has_experiments(path):
        return
    _require_current(path)
    with closing(open_database(path)) as connection:
        query = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'deleted'"
        found = connection.execute(query, (experiment,)).fetchone()
    if found is not None:
        raise deleted_experiment(experiment, found[0])


def _require_current(path: Path) -> None:
    """Raises UserError where another version of MLflow made a local database, which this one refuses.

    MLflow says so itself, when it has been imported and asked for its first run.
    """
    with closing(open_database(path)) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError:
            return
    revisions = schema_revisions()
    newest = set(revisions) - set(revisions.values())
    if found is None or len(newest) != 1 or found[0] in newest:
        return
    is_older = found[0] in revisions
    raise UserError(
        what=f"{path} was made by {'an older' if is_older else 'another'} version of MLflow",
        expected=f"a database of MLflow {version('mlflow')}, which is installed",
        hint=f"copy it, then run: {sys.executable} -m mlflow db upgrade sqlite:///{path.absolute()}"
        if is_older
        else "install that version of MLflow, or name another store, such as sqlite:///new.db",
    )


def schema_revisions() -> dict[str, str | None]:
    """The revisions of MLflow's database that it can upgrade from or to, each with the one before."""
    package = find_spec("mlflow")
    if package is None or package.origin is None:
        return {}
    found: dict[str, str | None] = {}
    for file in (Path(package.origin).parent / "store/db_migrations/versions").glob("*.py"):
        named = dict(
            re.findall(r"^((?:down_)?revision)\b[^=\n]*= *['\"](\w+)", file.read_text("utf-8"), re.M)
        )
        if "revision" in named:
            found[named["revision"]] = named.get("down_revision")
    return found


def deleted_experiment(name: str, identifier: object) -> UserError:
    """The error for a name that a deleted experiment still holds: whether to restore it is the user's choice."""
    return UserError(
        what=f"the experiment {name} was deleted in MLflow and still holds its name",
        expected="an experiment that takes runs",
        hint=f"restore it with 'mlflow experiments restore -x {identifier}', or write tracking.experiment=NAME",
    )


def require_answer(uri: str) -> None:
    """Raises where a tracking server does not answer; a database is only asked when it is written to.

    Raises:
        UserError: no answer within seconds.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS_TO_ANSWER).close()
    except urllib.error.HTTPError:
        # It answers; what it says is for MLflow to understand.
        return
    except OSError as error:
        raise UserError(
            what=f"MLflow at {uri} does not answer ({getattr(error, 'reason', error)})",
            expected="a tracking server that this machine can reach",
            hint="start it with mlflow server, or correct tracking.uri",
        ) from None


def open_database(path: Path) -> sqlite3.Connection:
    """A connection to a local database that only reads."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _has_experiments(path: Path) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiments'"
    try:
        with closing(open_database(path)) as connection:
            return connection.execute(query).fetchone() is not None
    except sqlite3.DatabaseError:
        return False


def connect(uri: str) -> MlflowClient:
    """A client of a store or server."""
    # Where this program retries, MLflow's own minutes of retrying a request only hide what is wrong.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient(uri)


def connect_to_existing(uri: str) -> MlflowClient:
    """A client of a store or server that is there and answers.

    Raises:
        UserError: it is not, or does not.
    """
    from mlflow.exceptions import MlflowException

    require_store(uri)
    try:
        client = connect(uri)
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise UserError(
            what=f"MLflow at {uri} cannot be read ({str(error).splitlines()[0]})",
            expected="a tracking server or a database of this MLflow's version",
            hint="start the server, or name another store with MLFLOW_TRACKING_URI",
        ) from error
    return client


def search_runs(client: MlflowClient, experiments: list[Experiment], wanted: str) -> Iterator[MlflowRun]:
    """The runs of experiments that a filter of MLflow's wants, the latest first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id for experiment in experiments],
            wanted,
            max_results=RUNS_A_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return
