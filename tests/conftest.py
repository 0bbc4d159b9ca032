"""What all tests share."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from hypothesis import settings


def forget_store() -> None:
    """Leave no store in the environment, which all commands inherit."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(name, None)


# Where nothing compiled is kept, each process that a test starts compiles all that it imports: half of its seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Tests must not write to a store of the user's, whatever the shell has set.
forget_store()
# Nine processes beside each server, for jobs that we have none of.
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

CORES = sorted(os.sched_getaffinity(0))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# The rooms, and the files of other rooms, whose tests train in their own process.
IN_PROCESS = (
    "losses",
    "training",
    "keeping",
    "test_decided_sweep.py",
    "test_grouped_sweep.py",
    "test_mistakes.py",
    "test_whole_tables.py",
)

# Tests pass on a machine that others load too.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


# In the order in which workers begin them, so that none is left alone with a long one at the end.
LONGEST = (
    *("benchmarks", "fleet", "outage", "readme", "neighbours", "ray", "kill", "cells"),
    *("bad_input", "losses_conformance", "sweep", "interrupts", "postgres", "fusion", "plan"),
)


def pytest_collection_modifyitems(items):
    """The longest files come first; the others stay in their order."""
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def on_one_core(request):
    """MindSpore's threads wait for each other by turning in circles: on one core they take a quarter less of it."""
    if not {request.path.parent.name, request.path.name} & set(IN_PROCESS):
        yield
        return
    os.sched_setaffinity(0, {CORES[WORKER % len(CORES)]})
    yield
    os.sched_setaffinity(0, CORES)


@pytest.fixture
def without_figures(monkeypatch):
    """Sweeps in this process draw none: that takes as long as all the rest of a small one."""
    from lossfleet.sweeps.report import conclusion

    monkeypatch.setattr(conclusion, "draw_figures", lambda *_, **__: None)


@pytest.fixture(autouse=True)
def no_store_left_behind():
    """MLflow sets MLFLOW_TRACKING_URI in its own process, for example where it serves a store."""
    yield
    forget_store()


@pytest.fixture(autouse=True)
def no_metric_left_behind():
    """A process remembers the metrics of the user's that it met; the next test has none."""
    from lossfleet.conf import metrics

    yield
    metrics._users.clear()


@pytest.fixture(scope="module", params=["kernels", "graphs"])
def pynative(request):
    """PyNative, waiting for each kernel, where losses are never compiled or always: they may round differently."""
    import mindspore as ms

    from lossfleet.losses import modes

    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modes, "CALLS_BEFORE_A_GRAPH", 0 if request.param == "graphs" else 10**9)
        yield


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory, where a sweep may leave its state."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def template():
    """An empty store of MLflow, which needs seconds to create; tests copy it."""
    from whole_sweeps import empty_store

    return empty_store()


@pytest.fixture
def uri(template, workdir, monkeypatch):
    """An empty store in an empty working directory, and a writer that does not wait."""
    from lossfleet.runners.tracking import writer as tracking_writer

    monkeypatch.setattr(tracking_writer, "PAUSE", 0.01)
    monkeypatch.setattr(tracking_writer, "LONGEST_DELAY", 0.01)
    shutil.copy(template, workdir / "mlflow.db")
    return f"sqlite:///{workdir / 'mlflow.db'}"
