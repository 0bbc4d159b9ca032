"""MLflow's client: connected, and asked for runs page by page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lossfleet.conf.errors import UserError
from lossfleet.runners.tracking.store import require_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

RUNS_A_PAGE = 1000


def connect(uri: str) -> MlflowClient:
    """A client of a store or server."""
    # Where this program retries, MLflow's own minutes of retrying a request only hide what is wrong.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
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
