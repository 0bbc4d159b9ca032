from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import sweep_records
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow_sweeps import EXPERIMENT, append, mirror, read_runs

from lossfleet.conf.errors import UserError
from lossfleet.runners.records import EndRecord, Journal, ReplicateRecord
from lossfleet.runners.tracking import store as tracking_store
from lossfleet.runners.tracking import tracker as tracker_module
from lossfleet.runners.tracking import writer as tracking_writer
from lossfleet.runners.tracking.read import read_sweeps
from lossfleet.runners.tracking.rows import LARGEST, run_rows
from lossfleet.runners.tracking.runs import Point, RunTree
from lossfleet.runners.tracking.tracker import Tracker
from lossfleet.runners.tracking.ui import experiments
from lossfleet.sweeps.comparison.frame import frame, frame_from_records

ROOT = Path(__file__).parents[2]


def by_name(uri):
    runs = {run.info.run_name: run for run in read_runs(uri)}
    assert len(runs) == len(read_runs(uri)), "a run is there twice"
    return runs


def everything(uri):
    """All that MLflow has of each run, by its key, with nothing in it that is random."""
    client = MlflowClient(uri)
    runs = read_runs(uri)
    keys = {run.info.run_id: run.data.tags["lossfleet.key"] for run in runs}
    assert len(set(keys.values())) == len(runs), "a run is there twice"
    found = {}
    for run in runs:
        info = {**dict(run.info), "run_id": "", "run_uuid": ""}
        info["artifact_uri"] = info["artifact_uri"].replace(run.info.run_id, "ID")
        tags = dict(run.data.tags)
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = keys[tags["mlflow.parentRunId"]]
        history = {
            name: [(point.step, repr(point.value), point.timestamp) for point in points]
            for name in run.data.metrics
            for points in [client.get_metric_history(run.info.run_id, name)]
        }
        latest = {name: repr(value) for name, value in run.data.metrics.items()}
        found[keys[run.info.run_id]] = (info, tags, run.data.params, history, latest)
    return found


def through_client(monkeypatch):
    """Sends a local database's runs the way of a server's."""
    monkeypatch.setattr(tracker_module, "open_engine", lambda uri: None)


def test_a_sweep_is_a_tree_of_runs(uri, tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "config.yaml").write_text("sweep: first\n")
    mirror(tmp_path / "studies", uri, sweep_records.sweep())
    runs = by_name(uri)
    assert sorted(runs) == sorted(
        ["first", "ce 000", "focal 000", "focal 001", "focal 002", "ce final", "focal final"]
        + [f"{name} r{r}" for name in ("ce 000", "focal 000", "focal 001", "focal 002") for r in range(3)]
        + [f"{name} final r{replicate}" for name in ("ce", "focal") for replicate in range(5)]
    )
    for name, run in runs.items():
        parent = run.data.tags.get("mlflow.parentRunId")
        expected = name.rsplit(" ", 1)[0] if " r" in name else "first"
        assert parent == (None if name == "first" else runs[expected].info.run_id)
    statuses = {"focal 000": "KILLED", "focal 001": "FAILED"}
    for name, run in runs.items():
        assert run.info.status == statuses.get(name.split(" r")[0], "FINISHED")

    sweep = runs["first"]
    assert sweep.data.tags["mlflow.note.content"] == "focal is ahead.\n\n| strategy |\n| --- |"
    assert sweep.data.tags["environment.machine"] == "two cores"
    assert sweep.data.params["batch_size"] == "64"
    assert sweep.data.params["focal.loss.name"] == "focal"
    assert sweep.info.end_time == 1_700_000_060_125
    dataset = sweep.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("wine", "0a1b2c3d")
    assert json.loads(dataset.source)["origin"] == "made up"
    profile = {"class_names": ["rare", "häufig"], "class_counts": [17, 101], "notes": ["one row dropped"]}
    assert json.loads(dataset.profile) == profile
    client = MlflowClient(uri)
    assert [artifact.path for artifact in client.list_artifacts(sweep.info.run_id)] == ["config.yaml"]

    replicate = runs["focal 002 r1"]
    assert replicate.info.start_time == 1_700_000_002_125
    assert replicate.info.end_time == 1_700_000_003_625
    assert replicate.data.params == runs["focal 002"].data.params
    assert replicate.data.params["loss.gamma"] == "0.2"
    assert "loss.tau" not in replicate.data.params
    assert "budget.epochs" not in replicate.data.params
    tags = replicate.data.tags
    wanted = {"strategy": "focal", "loss": "focal", "sampler": "shuffle", "data": "wine", "seed": "1"}
    wanted |= {"split": "1", "stage": "search", "trial": "2", "replicate": "1", "sweep": "first"}
    wanted |= {"study": "first/focal", "version": "0.1.0", "git_commit": "c0ffee", "state": "COMPLETE"}
    wanted |= {"mlflow.source.git.commit": "c0ffee", "engine": "graph"}
    assert wanted.items() <= tags.items()
    assert "reason" not in tags
    assert runs["focal 001"].data.tags["reason"] == "it diverged"


def test_a_continued_sweep_shows_what_both_runs_were(uri, tmp_path):
    mirror(tmp_path, uri, sweep_records.sweep())
    later = [sweep_records.continued(), *sweep_records.trial("focal", 3), sweep_records.end()]
    mirror(tmp_path, uri, later)
    runs = by_name(uri)
    tags = runs["first"].data.tags
    assert tags["environment.git_commit"] == "c0ffee"
    assert tags["continued.1"] == (
        "2023-11-14 23:13 UTC: budget.trials: 2 -> 3, git_commit: 'c0ffee' -> 'decade'"
    )
    commits = {name: runs[name].data.tags["git_commit"] for name in ("focal 002", "focal 002 r1")}
    assert set(commits.values()) == {"c0ffee"}
    for name in ("focal 003", "focal 003 r1"):
        assert runs[name].data.tags["git_commit"] == "decade"
        assert runs[name].data.tags["lossfleet.sweep"] == tags["lossfleet.sweep"]
    (sweep,) = read_sweeps(uri=uri)
    assert (sweep["environment"]["git_commit"], sweep["continued"]) == ("c0ffee", {"1": tags["continued.1"]})


def test_curves_means_and_deviations(uri, tmp_path):
    records = sweep_records.sweep()
    mirror(tmp_path, uri, records)
    runs = by_name(uri)
    client = MlflowClient(uri)
    replicates = [
        record
        for record in records
        if isinstance(record, ReplicateRecord) and (record.strategy, record.stage) == ("focal", "final")
    ]
    name = "test_macro_f1"
    history = client.get_metric_history(runs["focal final r3"].info.run_id, name)
    assert [(point.step, point.value) for point in history] == replicates[3].curves[name]
    assert runs["focal final r3"].data.metrics[name] == replicates[3].curves[name][-1][1]
    assert runs["focal final r3"].data.metrics["train_loss"] == 3.25

    scores = pd.DataFrame([dict(replicate.curves[name]) for replicate in replicates])
    history = client.get_metric_history(runs["focal final"].info.run_id, name)
    means = {point.step: point.value for point in history}
    assert means == pytest.approx(scores.mean().to_dict(), abs=1e-12)
    last = runs["focal final"].data.metrics
    assert last[name] == pytest.approx(scores[7].mean(), abs=1e-12)
    assert last[f"{name}_std"] == pytest.approx(scores[7].std(), abs=1e-12)
    assert last["value"] == 0.9
    assert math.isnan(runs["focal 001"].data.metrics["train_loss"])


def test_diagrams_do_not_change_the_clock_of_epochs(uri, tmp_path):
    mirror(tmp_path, uri, sweep_records.sweep())
    client = MlflowClient(uri)
    runs = by_name(uri)
    for name, ended in (("focal final r3", 1_700_000_003_625), ("focal final", 1_700_000_004_125)):
        run = runs[name].info
        history = client.get_metric_history(run.run_id, "test_macro_f1")
        pace = (ended - run.start_time) / 7
        assert [point.timestamp for point in history] == [
            pytest.approx(run.start_time + pace * epoch, abs=1) for epoch in (2, 5, 7)
        ]
        diagram = client.get_metric_history(run.run_id, "test_precision_at_recall")
        assert [point.step for point in diagram] == list(range(101))
        assert {point.timestamp for point in diagram} == {ended}
    # The mean over replicates has the bins that all of them have.
    bins = client.get_metric_history(runs["focal final"].info.run_id, "test_reliability_count")
    assert [(point.step, point.value) for point in bins] == [(3, 3.0), (15, 15.0)]


def test_both_ways_of_writing_give_the_same_runs(uri, template, tmp_path, monkeypatch):
    records = sweep_records.sweep()
    mirror(tmp_path / "bulk", uri, records)
    bulk = everything(uri)
    shutil.copy(template, tmp_path / "other.db")
    other = f"sqlite:///{tmp_path / 'other.db'}"
    through_client(monkeypatch)
    mirror(tmp_path / "client", other, records)
    client = everything(other)
    assert bulk.keys() == client.keys()
    for key in bulk:
        for ours, stock in zip(bulk[key], client[key], strict=True):
            assert ours == stock
    assert len(bulk) == 1 + 6 + 4 * 3 + 2 * 5


@pytest.mark.parametrize("way", ["bulk", "client"])
def test_every_run_is_written_once(uri, tmp_path, monkeypatch, way):
    if way == "client":
        through_client(monkeypatch)
    records = sweep_records.sweep()
    mirror(tmp_path / "whole", uri, records)
    whole = everything(uri)
    again = everything(uri)
    mirror(tmp_path / "whole", uri)
    assert everything(uri) == again

    shutil.copy(tmp_path / "mlflow.db", tmp_path / "parts.db")
    for run in read_runs(uri):
        MlflowClient(f"sqlite:///{tmp_path / 'parts.db'}").delete_run(run.info.run_id)
    parts = f"sqlite:///{tmp_path / 'parts.db'}"
    for cut in (1, 2, 7, 8, 20):
        done = len(Journal(tmp_path / "parts" / "records.jsonl").read())
        mirror(tmp_path / "parts", parts, records[done:cut])
        assert {run.info.run_name: run.info.status for run in read_runs(parts)}["first"] == "KILLED"
        assert "RUNNING" not in [run.info.status for run in read_runs(parts)]
    mirror(tmp_path / "parts", parts, records[20:])
    assert everything(parts) == whole


def test_runs_of_a_killed_writer_are_completed(uri, tmp_path, monkeypatch):
    mirror(tmp_path / "whole", uri, sweep_records.sweep())
    whole = everything(uri)
    client = MlflowClient(uri)
    killed = by_name(uri)["focal 002 r1"]
    # Nothing but the empty run, as if the writer had died after its creation.
    client.delete_run(killed.info.run_id)
    client.create_run(
        killed.info.experiment_id, killed.info.start_time, killed.data.tags, killed.info.run_name
    )
    # Twice: the server took the request, but its answer was lost.
    client.create_run(
        killed.info.experiment_id, killed.info.start_time, killed.data.tags, killed.info.run_name
    )
    mirror(tmp_path / "whole", uri)
    assert everything(uri) == whole


def test_a_continued_sweep_keeps_its_run(uri, tmp_path):
    records = sweep_records.sweep()
    mirror(tmp_path, uri, records)
    sweep = by_name(uri)["first"].info.run_id
    mirror(tmp_path, uri, sweep_records.trial("focal", 3))
    runs = by_name(uri)
    assert runs["first"].info.run_id == sweep
    assert runs["first"].info.status == "KILLED"
    mirror(tmp_path, uri, [*sweep_records.trial("focal", 4), EndRecord("FINISHED", 1.8e9, "t", "s")])
    runs = by_name(uri)
    assert runs["first"].info.run_id == sweep
    assert runs["first"].info.status == "FINISHED"
    assert runs["first"].info.end_time == 1_800_000_000_000
    assert {"focal 003 r2", "focal 004 r0"} <= runs.keys()


def test_a_continued_sweep_runs_again_until_its_end(uri, tmp_path):
    mirror(tmp_path, uri, sweep_records.sweep())
    tracker = Tracker(uri, EXPERIMENT, sweep_records.start())
    tracker.open_sweep(sweep_records.start())
    assert by_name(uri)["first"].info.status == "RUNNING"


def test_a_second_start_continues_the_first_sweep(uri, tmp_path):
    mirror(tmp_path, uri, sweep_records.sweep())
    again = sweep_records.start(started=sweep_records.STARTED + 900)
    mirror(tmp_path, uri, [again, *sweep_records.trial("focal", 3), sweep_records.end()])
    runs = by_name(uri)
    assert len(runs) == 29 + 4
    assert runs["focal 003"].data.tags["mlflow.parentRunId"] == runs["first"].info.run_id


def test_means_are_over_all_replicates_or_not_at_all(uri, tmp_path):
    *replicates, trial = sweep_records.trial("ce", 0)
    name = "validation_macro_f1"
    shorter = replace(
        replicates[1], epochs=5, curves={name: replicates[1].curves[name][:2]}, metrics={name: 0.5}
    )
    mirror(tmp_path, uri, [sweep_records.start(), replicates[0], shorter, trial])
    history = MlflowClient(uri).get_metric_history(by_name(uri)["ce 000"].info.run_id, name)
    assert [point.step for point in history] == [2, 5]
    assert history[1].value == pytest.approx((replicates[0].curves[name][1][1] + 0.5) / 2)


def test_not_a_number_is_stored_as_mlflow_stores_it():
    *_, failed = RunTree().add([sweep_records.start(), *sweep_records.trial("ce", 0)])
    points = [Point("loss", 1, math.nan, 1000), Point("loss", 2, -math.inf, 2000)]
    rows = run_rows(replace(failed, points=points), "1" * 32, "2" * 32)
    assert [(row["value"], row["is_nan"]) for row in rows["metrics"]] == [(0.0, True), (-LARGEST, False)]


def test_what_is_written_just_before_the_end_is_in_mlflow(uri, tmp_path):
    class Ending:
        """The sweep appends its last records while the writer waits, and ends."""

        def wait(self, timeout):
            append(tmp_path, sweep_records.sweep())
            return True

    tracking_writer.mirror(tmp_path, uri, EXPERIMENT, Ending())
    assert len(by_name(uri)) == 29


def test_replicates_wait_for_their_trial(uri, tmp_path):
    *replicates, trial = sweep_records.trial("ce", 0)
    mirror(tmp_path, uri, [sweep_records.start(), *replicates])
    assert by_name(uri).keys() == {"first"}
    mirror(tmp_path, uri, [trial])
    assert by_name(uri).keys() == {"first", "ce 000", "ce 000 r0", "ce 000 r1", "ce 000 r2"}


def test_sweeps_of_the_same_name_stay_apart(uri, tmp_path):
    mirror(tmp_path / "here", uri, sweep_records.sweep())
    mirror(tmp_path / "there", uri, sweep_records.sweep(started=sweep_records.STARTED + 900))
    assert len(read_runs(uri)) == 2 * 29


@pytest.mark.parametrize("failing", ["create_run", "log_batch", "set_terminated"])
def test_a_server_that_fails_is_asked_again(uri, tmp_path, monkeypatch, failing):
    mirror(tmp_path / "calm", uri, sweep_records.sweep())
    calm = everything(uri)
    for run in read_runs(uri):
        MlflowClient(uri).delete_run(run.info.run_id)
    through_client(monkeypatch)
    original = getattr(MlflowClient, failing)
    calls = iter(range(1000))

    def fail_sometimes(self, *args, **kwargs):
        call = next(calls)
        if call in (0, 9):
            raise MlflowException("the server is gone")
        result = original(self, *args, **kwargs)
        if call == 17:
            raise MlflowException("the answer is lost")
        return result

    monkeypatch.setattr(MlflowClient, failing, fail_sometimes)
    # Three failures take longer on a machine that others load.
    monkeypatch.setattr(tracking_writer, "SECONDS_AT_THE_END", 120.0)
    mirror(tmp_path / "storm", uri, sweep_records.sweep())
    assert everything(uri) == calm


def test_a_server_that_stays_away_is_an_error_at_the_end(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking_writer, "SECONDS_AT_THE_END", 0.1)
    attempts = []

    def refuse(*args):
        attempts.append(args)
        raise MlflowException("no server")

    monkeypatch.setattr(tracker_module, "Tracker", refuse)
    with pytest.raises(MlflowException, match="no server"):
        mirror(tmp_path, uri, sweep_records.sweep())
    assert len(attempts) > 1


def test_the_writer_process_writes_everything(uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    records = sweep_records.sweep()
    folder = tmp_path / "studies" / "first"
    writer = tracking_writer.start_writer(folder, uri, EXPERIMENT)
    append(folder, records)
    writer.finish(120)
    writer.finish(1)
    assert len(everything(uri)) == 29
    assert "RUNNING" not in [run.info.status for run in read_runs(uri)]
    pd.testing.assert_frame_equal(frame([EXPERIMENT], uri=uri), frame_from_records(records))


def test_the_writer_ends_after_a_killed_sweep_and_that_process_has_no_mlflow(uri, tmp_path):
    script = f"""
        import os, signal, sys
        import sweep_records
        from lossfleet.runners.records import Journal
        from lossfleet.runners.tracking.writer import start_writer
        writer = start_writer("studies", {uri!r}, {EXPERIMENT!r})
        journal = Journal("studies/records.jsonl")
        for record in sweep_records.sweep()[:9]:
            journal.append(record)
        assert "mlflow" not in sys.modules
        print(writer._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    pid = int(killed.stdout)
    deadline = time.monotonic() + 120
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the writer does not end"
        time.sleep(0.05)
    statuses = {run.info.run_name: run.info.status for run in read_runs(uri)}
    assert len(statuses) == 1 + 4 + 4
    assert statuses["first"] == "KILLED"
    assert "RUNNING" not in statuses.values()


def child(code, folder):
    folder.mkdir(exist_ok=True)
    log = (folder / "tracking.log").open("wb")
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=log)
    return tracking_writer.Writer(process, folder, "http://nowhere")


def test_a_writer_that_failed_has_last_words(tmp_path):
    writer = child("import sys; sys.exit('first line\\nthe disk is full')", tmp_path)
    assert writer.finish(60) == "the disk is full"


def test_a_slow_writer_goes_on(tmp_path):
    writer = child("import time; time.sleep(600)", tmp_path)
    assert "not done within 0.1 s" in writer.finish(0.1)
    assert writer._process.poll() is None
    writer._process.kill()
    writer._process.wait()


def test_the_trials_of_the_front_are_tagged_and_those_that_leave_it_are_told_so(uri, workdir):
    def several(number, values):
        records = sweep_records.trial("ce", number, replicates=2)
        records[-1].config["search"] = {"metrics": ["mcc", "brier_score"]}
        records[-1].values.update(mcc=values[0], brier_score=values[1])
        records[-1].violations.update({"rarest_recall >= 0.5": 0.25 if number else -0.25})
        return records

    def tagged(name):
        runs = [run for run in read_runs(uri) if run.data.tags["lossfleet.kind"] == "trial"]
        return {run.data.tags["trial"]: run.data.tags.get(name) for run in runs}

    folder = workdir / "first"
    ended = replace(sweep_records.end(), front=[["ce", 0]])
    mirror(folder, uri, [sweep_records.start(), *several(0, (0.5, 0.3)), ended])
    assert tagged("pareto") == {"0": "true"}
    ended = replace(sweep_records.end(), front=[["ce", 1]])
    mirror(folder, uri, [*several(1, (0.6, 0.2)), ended])
    assert tagged("pareto") == {"0": "false", "1": "true"}
    assert tagged("feasible") == {"0": "true", "1": "false"}
    trial = next(run for run in read_runs(uri) if run.data.tags.get("pareto") == "true")
    wanted = {"value_mcc": 0.6, "value_brier_score": 0.2, "violation": 0.25}
    assert {name: trial.data.metrics[name] for name in wanted} == wanted


def test_a_store_that_was_killed_while_it_was_made_is_made_again(workdir):
    code = f"""
        import os, signal, threading, time
        from pathlib import Path
        from lossfleet.runners.tracking.database import make_store
        path = Path({str(workdir / "mlflow.db")!r})
        def kill_midway():
            new = Path(f"{{path}}.new")
            while not (new.exists() and new.stat().st_size > 100_000):
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Thread(target=kill_midway, daemon=True).start()
        make_store(path)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in workdir.glob("mlflow.db*") if path.stat().st_size] != ["mlflow.db"]
    mirror(workdir / "studies", f"sqlite:///{workdir / 'mlflow.db'}", sweep_records.sweep())
    assert len(read_runs(f"sqlite:///{workdir / 'mlflow.db'}")) == 29
    assert [path.name for path in workdir.glob("mlflow.db*")] == ["mlflow.db"]


def test_a_deleted_experiment_is_the_users_to_restore(uri, workdir):
    mirror(workdir / "first", uri, sweep_records.sweep())
    client = MlflowClient(uri)
    identifier = client.get_experiment_by_name(EXPERIMENT).experiment_id
    tracking_store.require_active(uri, EXPERIMENT)
    client.delete_experiment(identifier)
    expected = rf"wine was deleted in MLflow .*restore it with 'mlflow experiments restore -x {identifier}'"
    with pytest.raises(UserError, match=expected):
        tracking_store.require_active(uri, EXPERIMENT)
    with pytest.raises(UserError, match=expected):
        Tracker(uri, EXPERIMENT, sweep_records.start())
    tracking_store.require_active(uri, "another")
    assert experiments(uri) == {}
    client.restore_experiment(identifier)
    assert experiments(uri) == {EXPERIMENT: (int(identifier), False)}


def test_deleted_and_foreign_runs_are_no_hindrance(uri, workdir):
    mirror(workdir / "first", uri, sweep_records.sweep())
    client = MlflowClient(uri)
    deleted = by_name(uri)["focal 002"].info
    client.delete_run(deleted.run_id)
    client.create_run(deleted.experiment_id, run_name="theirs")
    mirror(workdir / "first", uri, [*sweep_records.trial("focal", 3), sweep_records.end()])
    runs = by_name(uri)
    assert runs["focal 002"].info.run_id != deleted.run_id
    assert {"focal 003", "theirs"} <= runs.keys()
    tracking_store.require_active(uri, EXPERIMENT)


def test_the_sweep_run_names_its_winner_and_its_figures(uri, workdir):
    (workdir / "first" / "figures").mkdir(parents=True)
    for name in ("figures.html", "history.png"):
        (workdir / "first" / "figures" / name).write_bytes(b"a figure")
    ended = replace(sweep_records.end(), winner="focal", metrics={"test_macro_f1.focal": 0.875})
    mirror(workdir / "first", uri, [*sweep_records.sweep()[:-1], ended])
    run = by_name(uri)["first"]
    assert run.data.tags["winner"] == "focal"
    assert run.data.metrics["test_macro_f1.focal"] == 0.875
    assert "`figures.html`" in run.data.tags["mlflow.note.content"]
    client = MlflowClient(uri)
    found = client.list_artifacts(run.info.run_id, "figures")
    assert [artifact.path for artifact in found] == ["figures/figures.html", "figures/history.png"]


def test_a_sweep_has_its_examples_before_its_end(uri, workdir, monkeypatch):
    (workdir / "first" / "figures").mkdir(parents=True)
    (workdir / "first" / "figures" / "examples.png").write_bytes(b"examples")
    monkeypatch.setattr(Tracker, "_log_artifacts", lambda *_: None)
    mirror(workdir / "first", uri, sweep_records.sweep())
    run = by_name(uri)["first"]
    found = MlflowClient(uri).list_artifacts(run.info.run_id, "figures")
    assert [artifact.path for artifact in found] == ["figures/examples.png"]
    # They alone are not what the page would show.
    assert "`figures.html`" not in run.data.tags["mlflow.note.content"]


def test_the_sweep_run_has_the_mistakes_and_says_so(uri, workdir):
    mirror(workdir / "first", uri, sweep_records.sweep())
    assert read_sweeps(uri=uri)[0]["mistakes"] == ""
    (workdir / "first" / "mistakes.csv").write_text("row,class\n7,rare\n")
    mirror(workdir / "first", uri, [sweep_records.end()])
    client = MlflowClient(uri)
    found = [each.path for each in client.list_artifacts(by_name(uri)["first"].info.run_id)]
    assert "mistakes.csv" in found
    assert "mistakes.csv" in read_sweeps(uri=uri)[0]["mistakes"]
