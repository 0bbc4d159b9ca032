"""The curves of many runs from MLflow at once; a call a metric and run, as its client has it, takes minutes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lossfleet.runners.tracking.rows import LARGEST

if TYPE_CHECKING:
    from sqlalchemy import Engine

Curves = dict[str, tuple[tuple[int, float], ...]]

RUNS_A_QUERY = 1000
# What MLflow's server takes and gives in one answer.
RUNS_A_REQUEST = 100
POINTS_AN_ANSWER = 25_000
BULK_HISTORY = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"


def curves_from_database(engine: Engine, names: Mapping[str, Sequence[str]]) -> dict[str, Curves]:
    """The curves of runs in a database, by MLflow's own table definitions.

    Args:
        engine: of the database.
        names: the metrics wanted, by run id.

    Returns:
        By run id and name, each curve (step, value) in the order of its steps.
    """
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import select

    wanted = sorted({name for each in names.values() for name in each})
    columns = (SqlMetric.run_uuid, SqlMetric.key, SqlMetric.step, SqlMetric.value, SqlMetric.is_nan)
    points = []
    with engine.connect() as connection:
        for ids in _batches(list(names), RUNS_A_QUERY):
            query = select(*columns).where(SqlMetric.run_uuid.in_(ids), SqlMetric.key.in_(wanted))
            points += [
                (run_id, name, step, math.nan if is_nan else value)
                for run_id, name, step, value, is_nan in connection.execute(query)
            ]
    return _curves(points, names)


def curves_from_server(uri: str, names: Mapping[str, Sequence[str]]) -> dict[str, Curves]:
    """The curves of runs on a tracking server, by the request that its own UI uses.

    Args and Returns: as for `curves_from_database`.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for run_id, each in names.items():
        for name in each:
            by_name[name].append(run_id)
    points = [
        (point["run_id"], name, point["step"], float(point["value"]))
        for name, ids in by_name.items()
        for batch in _batches(ids, RUNS_A_REQUEST)
        for point in _request(uri, name, batch)
    ]
    return _curves(points, names)


def finite_or_infinite(value: float) -> float:
    """A value as it was before MLflow stored infinity as the largest double."""
    return math.copysign(math.inf, value) if abs(value) == LARGEST else value


def _request(uri: str, name: str, ids: list[str]) -> list[dict[str, Any]]:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request_safe

    answer = http_request_safe(
        host_creds=get_default_host_creds(uri),
        endpoint=BULK_HISTORY,
        method="GET",
        params={"run_id": ids, "metric_key": name, "max_results": POINTS_AN_ANSWER},
    )
    points: list[dict[str, Any]] = answer.json()["metrics"]
    if len(points) == POINTS_AN_ANSWER and len(ids) > 1:
        # The answer was cut off.
        half = len(ids) // 2
        return _request(uri, name, ids[:half]) + _request(uri, name, ids[half:])
    return points


def _curves(
    points: list[tuple[str, str, int, float]], names: Mapping[str, Sequence[str]]
) -> dict[str, Curves]:
    found: dict[str, Curves] = {run_id: dict.fromkeys(each, ()) for run_id, each in names.items()}
    for run_id, name, step, value in sorted(points, key=lambda point: point[2]):
        if name in found[run_id]:
            found[run_id][name] += ((step, finite_or_infinite(value)),)
    return found


def _batches(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
