"""What MLflow stores of a run: metrics by names that it takes, and rows of its tables (no mlflow in here)."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from lossfleet.runners.tracking.runs import Run, milliseconds

# MLflow stores infinity as the largest double, and NaN as zero with a flag.
LARGEST = sys.float_info.max
# MLflow refuses more on one system or another; a colon stands before what is written as hexadecimal digits.
REFUSED = r"[^\w\- .]|^\.+$|^ | $"


def run_rows(run: Run, run_id: str, parent_id: str) -> dict[str, list[dict[str, Any]]]:
    """An ended run's rows by table; what depends on the experiment is not in them.

    Args:
        run: the run; each (metric, step) has one value.
        run_id: 32 hexadecimal digits.
        parent_id: the run id of the parent.
    """
    metrics: list[dict[str, Any]] = [
        {
            "run_uuid": run_id,
            "key": mlflow_name(point.name),
            "step": point.step,
            "timestamp": point.time,
            "value": 0.0 if math.isnan(point.value) else max(-LARGEST, min(LARGEST, point.value)),
            "is_nan": math.isnan(point.value),
        }
        for point in run.points
    ]
    latest = {row["key"]: row for row in sorted(metrics, key=lambda row: row["step"])}
    tags = {**run.tags, "mlflow.parentRunId": parent_id, "mlflow.runName": run.name}
    return {
        "runs": [
            {
                "run_uuid": run_id,
                "name": run.name,
                "source_type": "UNKNOWN",
                "source_name": "",
                "entry_point_name": "",
                "source_version": "",
                "user_id": run.tags["mlflow.user"],
                "status": run.status,
                "start_time": milliseconds(run.started),
                "end_time": milliseconds(run.ended),
                "lifecycle_stage": "active",
            }
        ],
        "tags": [{"run_uuid": run_id, "key": name, "value": value} for name, value in tags.items()],
        "params": [{"run_uuid": run_id, "key": name, "value": value} for name, value in run.params.items()],
        "metrics": metrics,
        "latest_metrics": list(latest.values()),
    }


def mlflow_name(name: str) -> str:
    """A metric's name in MLflow, which takes no brackets: `test_recall[text]` is `test_recall/text`."""
    metric, bracket, classes = name.partition("[")
    return "/".join([metric, *map(_escaped, classes.removesuffix("]").split("]["))]) if bracket else name


def metric_name(name: str) -> str:
    """The metric's name of its name in MLflow."""
    metric, *classes = name.split("/")
    return metric + "".join(f"[{_unescaped(each)}]" for each in classes)


def _escaped(class_name: str) -> str:
    return (
        re.sub(REFUSED, lambda found: "".join(f":{byte:02x}" for byte in found[0].encode()), class_name)
        or ":"
    )


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        return bytes.fromhex(found[0].replace(":", "")).decode(errors="replace")

    return "" if text == ":" else re.sub(r"(:[0-9a-f]{2})+", character, text)
