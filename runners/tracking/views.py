"""A view of an experiment as the share button of MLflow's UI stores it: columns, filter and order (no mlflow in here).

A tag of the experiment holds it, and a link that names the tag opens it. Where MLflow stores it otherwise, nothing
is lost but the view: the link that `lossfleet ui` prints is then a plain one.
"""

from __future__ import annotations

import json
from importlib import metadata

from lossfleet.runners.records import EndRecord, SweepRecord
from lossfleet.runners.tracking.rows import mlflow_name
from lossfleet.runners.tracking.runs import milliseconds
from lossfleet.runners.tracking.tags import KIND_TAG

VIEW = "lossfleet"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
# The versions of MLflow whose own button was seen to store a view like this, in a test with a browser.
VERSIONS = ("3.17.",)
# Hyperparameters of losses that are shown also where they are fixed.
SHOWN = ("loss.gamma", "loss.tau", "loss.alpha")
# MLflow takes 5000 characters; a column with its quotes has some 40.
MOST_COLUMNS = 24


def takes_views() -> bool:
    """Whether the installed MLflow is one whose way of storing views is known."""
    return metadata.version("mlflow").startswith(VERSIONS)


def prepared_view(sweep: SweepRecord, end: EndRecord) -> dict[str, str]:
    """The tag of an experiment for the view of its trials: strategy, hyperparameters, and the compared metric first.

    Empty where nothing was compared.
    """
    if not end.metrics:
        return {}
    # The first one is what was compared.
    compared = next(iter(end.metrics))
    searched = f"validation_{next(iter(sweep.config['studies'].values()))['search']['metric']}"
    metrics = dict.fromkeys((compared, f"{compared}_std", searched, f"{searched}_std"))
    columns = [
        *(_column("tags", name) for name in ("strategy", "stage")),
        *(_column("params", name) for name in _hyperparameters(sweep)),
        *(_column("metrics", mlflow_name(name)) for name in metrics),
    ]
    state = {
        "searchFilter": f"tags.`{KIND_TAG}` = 'trial'",
        "orderByKey": _column("metrics", mlflow_name(compared)),
        "orderByAsc": False,
        "selectedColumns": columns[:MOST_COLUMNS],
    }
    time = milliseconds(end.ended)
    # The state is JSON within JSON, as the button writes it.
    view = {"name": "trials", "createdAt": time, "updatedAt": time, "state": json.dumps(state)}
    return {VIEW_TAG: json.dumps(view)}


def _hyperparameters(sweep: SweepRecord) -> list[str]:
    """The settings of SHOWN that a loss has, then what is searched beside them and the optimizer."""
    studies = list(sweep.config["studies"].values())
    searched = dict.fromkeys(name for study in studies for name in study.get("space", {}))
    fixed = {
        f"loss.{name}" for study in studies for name, value in study["loss"].items() if value is not None
    }
    shown = [name for name in SHOWN if name in searched or name in fixed]
    return shown + [name for name in searched if name not in shown and not name.startswith("optimizer.")]


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"
