from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sweep_records
from mlflow import MlflowClient
from mlflow_sweeps import EXPERIMENT, mirror, read_runs
from postgres import free_port
from werkzeug.serving import make_server
from whole_sweeps import is_running

from lossfleet.conf.errors import UserError
from lossfleet.runners.tracking import curves as tracking_curves
from lossfleet.runners.tracking import store, ui, views
from lossfleet.runners.tracking.read import read_replicates, read_sweeps
from lossfleet.runners.tracking.store import tracking_uri
from lossfleet.sweeps.comparison.frame import frame, frame_from_records


def test_the_tracking_uri(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert tracking_uri(None) == "http://example.org"
    assert tracking_uri("sqlite:///other.db") == "sqlite:///other.db"
    for folder in ("./mlruns", "file:///tmp/mlruns"):
        with pytest.raises(UserError, match="expected a database or a server"):
            tracking_uri(folder)


def test_mlflow_and_journal_give_the_same_table(uri, tmp_path, monkeypatch):
    records = sweep_records.sweep()
    mirror(tmp_path, uri, records)
    monkeypatch.setattr(store, "RUNS_A_PAGE", 3)
    monkeypatch.setattr(tracking_curves, "RUNS_A_QUERY", 5)
    ours = frame_from_records(records)
    pd.testing.assert_frame_equal(frame(uri=uri), ours)
    without = ours.drop(columns=[name for name in ours if name.startswith("curves.")])
    pd.testing.assert_frame_equal(frame(uri=uri, curves=False), without)
    assert len(ours) == 4 * 3 + 2 * 5
    assert ours["train_loss"].isin([math.inf, -math.inf]).sum() == 2


def test_a_server_gives_the_same_table(uri, tmp_path, monkeypatch):
    records = sweep_records.sweep()
    mirror(tmp_path, uri, records)
    # So small that answers are cut off.
    monkeypatch.setattr(tracking_curves, "POINTS_AN_ANSWER", 150)
    monkeypatch.setattr(tracking_curves, "RUNS_A_REQUEST", 7)
    with served(uri) as address:
        found = frame(uri=address)
    pd.testing.assert_frame_equal(found, frame_from_records(records))


def test_figures_and_configuration_go_through_a_server(uri, workdir):
    folder = workdir / "first"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "history.png").write_bytes(b"a figure")
    (folder / "config.yaml").write_text("sweep: first\n")
    with served(uri) as address:
        mirror(folder, address, [sweep_records.start(), sweep_records.end()])
    kept = [path.relative_to(workdir / "on-the-server") for path in workdir.glob("on-the-server/**/*.*")]
    assert sorted(path.name for path in kept) == ["config.yaml", "history.png"]
    assert not (workdir / "mlruns").exists()
    # Without the server its artifacts are out of reach, and the runs are not.
    mirror(folder, uri, sweep_records.sweep()[1:])
    assert len(read_runs(uri)) == 29


@contextmanager
def served(uri):
    """MLflow's own server on a free port of this machine, in this process."""
    from mlflow.server import (
        ARTIFACT_ROOT_ENV_VAR,
        ARTIFACTS_DESTINATION_ENV_VAR,
        BACKEND_STORE_URI_ENV_VAR,
        SERVE_ARTIFACTS_ENV_VAR,
        app,
        handlers,
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BACKEND_STORE_URI_ENV_VAR, uri)
        patch.setenv(SERVE_ARTIFACTS_ENV_VAR, "true")
        patch.setenv(ARTIFACT_ROOT_ENV_VAR, "mlflow-artifacts:/")
        patch.setenv(ARTIFACTS_DESTINATION_ENV_VAR, str(Path("on-the-server").resolve()))
        patch.setattr(handlers, "_tracking_store", None)
        patch.setattr(handlers, "_artifact_repo", None)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_only_the_wanted_runs_are_read(uri, tmp_path):
    later = sweep_records.STARTED + 900
    mirror(tmp_path / "a", uri, sweep_records.sweep("early"))
    mirror(tmp_path / "b", uri, sweep_records.sweep("late", started=later))
    mirror(tmp_path / "c", uri, sweep_records.sweep("broken", started=later + 900)[:-1])
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    foreign = client.create_run(experiment, tags={"strategy": "theirs", "stage": "final"})
    client.set_terminated(foreign.info.run_id)
    client.create_experiment("theirs")
    deleted = next(
        run for run in read_runs(uri) if run.data.tags.get("lossfleet.key", "").endswith("final/0/4")
    )
    client.delete_run(deleted.info.run_id)

    def sweeps(**wanted):
        return {row["sweep"] for row in read_replicates(uri=uri, **wanted)}

    assert sweeps() == {"late"}
    assert sweeps(experiments=[EXPERIMENT]) == {"late"}
    assert sweeps(sweep="early") == {"early"}
    assert sweeps(sweep="broken") == {"broken"}
    assert sweeps(sweep=["early", "broken"]) == {"early", "broken"}
    assert sweeps(unfinished=True) == {"late"}
    (found,) = read_sweeps(uri=uri)
    assert (found["sweep"], found["status"], found["newer"]) == ("late", "FINISHED", "broken")
    (found,) = read_sweeps(uri=uri, sweep="broken")
    assert (found["sweep"], found["status"], found["newer"]) == ("broken", "KILLED", "")
    rows = [len(read_replicates(uri=uri, sweep=name)) for name in ("early", "late", "broken")]
    assert sorted(rows) == [21, 22, 22]
    with pytest.raises(UserError, match=r"no experiment win; expected one of .*wine; did you mean wine"):
        sweeps(experiments=["win"])
    with pytest.raises(UserError, match="no finished sweep in theirs"):
        sweeps(experiments=["theirs"])
    with pytest.raises(UserError, match="no sweep lost in wine"):
        sweeps(experiments=[EXPERIMENT], sweep="lost")
    with pytest.raises(UserError, match="no sweep lost in wine"):
        sweeps(experiments=[EXPERIMENT], sweep=["early", "lost"])


@pytest.mark.parametrize("content", [None, b"", b"no database at all, but long enough to be looked at"])
def test_reading_a_missing_store_creates_none(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if content is not None:
        Path("mlflow.db").write_bytes(content)
    for read in (read_replicates, lambda: ui.serve_ui(None, 5000)):
        with pytest.raises(UserError, match=r"no MLflow database mlflow\.db; .*run lossfleet sweep first"):
            read()
    assert [path.name for path in tmp_path.iterdir()] == ([] if content is None else ["mlflow.db"])
    assert content is None or Path("mlflow.db").read_bytes() == content


def test_the_newest_revision_is_that_of_mlflow():
    from mlflow.store.db.utils import _get_latest_schema_revision

    revisions = store.schema_revisions()
    assert set(revisions) - set(revisions.values()) == {_get_latest_schema_revision()}


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        ("older", "was made by an older version of MLflow; .* -m mlflow db upgrade sqlite:///"),
        ("0123456789ab", "was made by another version of MLflow; .*install that version of MLflow"),
        ("newest", None),
    ],
)
def test_a_database_of_another_mlflow_is_noticed_at_once(revision, words, tmp_path):
    revisions = store.schema_revisions()
    (newest,) = set(revisions) - set(revisions.values())
    found = {"older": revisions[newest], "newest": newest}.get(revision, revision)
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE experiments (experiment_id, name, lifecycle_stage)")
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (found,))
        connection.commit()
    uri = f"sqlite:///{path}"
    for check in (store.require_store, lambda uri: store.require_active(uri, "wine")):
        if words is None:
            check(uri)
        else:
            with pytest.raises(UserError, match=words):
                check(uri)


def test_a_dead_server_is_a_user_error(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="cannot be read"):
        read_replicates(uri=f"http://127.0.0.1:{free_port()}")


def test_a_server_ends_with_what_it_has_started(monkeypatch):
    monkeypatch.setattr(ui, "SECONDS_TO_END", 1)
    # It does not hear the first signal.
    script = "trap '' TERM; sleep 600 & echo $!; wait"
    server = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert server.stdout is not None
    started = int(server.stdout.readline())
    assert is_running(started)
    ui.end_session(server)
    assert server.returncode == -signal.SIGKILL
    # The signal is sent; a busy machine takes its time to carry it out, and whoever inherits the process to note it.
    deadline = time.monotonic() + 60
    while is_running(started):
        assert time.monotonic() < deadline, started
        time.sleep(0.05)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such machine", "localhost.invalid"])
def test_the_ui_is_served_on_an_address_of_this_machine(host, uri):
    with pytest.raises(UserError, match=re.escape(f"--host is {host}, which is no address of this machine")):
        ui.serve_ui(uri, 5000, host=host)


@pytest.fixture
def handlers_left_alone():
    """What serves until it is interrupted takes SIGTERM for itself."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_serves_this_store_on_this_machine_only(number, uri, monkeypatch, capsys, handlers_left_alone):
    commands = []

    class Server:
        def __init__(self, command, env, cwd, start_new_session):
            # What it starts can be ended with it.
            assert start_new_session
            # Modules are looked for there first.
            assert os.listdir(cwd) == []
            commands.append(command)

        def wait(self):
            if len(commands) == 1:
                commands.append("interrupted")
                os.kill(os.getpid(), number)

    monkeypatch.setattr(ui.subprocess, "Popen", Server)
    monkeypatch.setattr(ui, "end_session", lambda server: commands.append("terminated"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be used"):
            ui.serve_ui(uri, port)
    assert commands == []
    ui.serve_ui(uri, port)
    command = commands[0]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == str(port)
    assert command[command.index("--backend-store-uri") + 1] == uri
    assert commands[1:] == ["interrupted", "terminated"]
    assert f"http://127.0.0.1:{port}" in capsys.readouterr().out


def test_the_ui_s_links_are_plain_where_the_view_would_not_be_understood(uri, tmp_path, monkeypatch):
    records = sweep_records.sweep()
    compared = {"test_macro_f1": 0.9, "test_mcc": 0.8}
    mirror(tmp_path, uri, [*records[:-1], replace(records[-1], metrics=compared)])
    ((identifier, has_view),) = ui.experiments(uri).values()
    assert has_view
    tags = MlflowClient(uri).get_experiment(str(identifier)).tags
    state = json.loads(json.loads(tags[views.VIEW_TAG])["state"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test_macro_f1`", False)
    assert state["searchFilter"] == "tags.`lossfleet.kind` = 'trial'"
    metrics = ("test_macro_f1", "test_macro_f1_std", "validation_macro_f1", "validation_macro_f1_std")
    columns = ["tags.`strategy`", "tags.`stage`", *(f"metrics.`{name}`" for name in metrics)]
    assert state["selectedColumns"] == columns
    # What the view asks for is what MLflow finds.
    found = MlflowClient(uri).search_runs(
        [str(identifier)], state["searchFilter"], order_by=["metrics.`test_macro_f1` DESC"]
    )
    assert [run.info.run_name for run in found][:2] == ["focal final", "ce final"]
    assert len(found) == 6
    prepared, plain = (ui.links("http://x", identifier, has_view=each) for each in (True, False))
    assert all(f"&viewStateShareKey={views.VIEW}" in link for link in prepared)
    assert [link.replace(f"&viewStateShareKey={views.VIEW}", "") for link in prepared] == list(plain)
    for version, known in (("3.17.2", True), ("3.16.0", False), ("4.0.0", False)):
        monkeypatch.setattr(views.metadata, "version", lambda _, version=version: version)
        assert views.takes_views() == known


def test_the_link_is_opened_once_the_server_answers(monkeypatch, capsys):
    opened, polls = [], iter([None, None, None, None])

    class Server:
        def poll(self):
            return next(polls)

    monkeypatch.setattr(ui, "PAUSE", 0)
    monkeypatch.setattr(ui.webbrowser, "open", lambda link: opened.append(link) or False)
    answers = iter([OSError(), socket.socket()])

    def answer(address, timeout):
        assert address == "http://x/health"
        found = next(answers)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(ui.urllib.request, "urlopen", answer)
    ui.open_when_served("http://x", "http://x/#link", Server())
    assert opened == ["http://x/#link"]
    assert "there is no browser" in capsys.readouterr().err


def test_a_trial_before_its_sweep_is_refused():
    with pytest.raises(ValueError, match="came before the SweepRecord"):
        frame_from_records(sweep_records.trial("ce", 0))
