"""Kept models in MLflow: registered once, the newest winner as champion, found again by every name."""

from __future__ import annotations

import shutil
import subprocess
import venv
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from kept_models import bank, make_model
from mlflow import MlflowClient
from mlflow_sweeps import EXPERIMENT, mirror, read_runs
from sweep_records import sweep

from lossfleet.conf.errors import UserError
from lossfleet.runners.tracking.models import fetch, registry
from lossfleet.runners.tracking.models.fetch import fetched_model

NAME = "bank"


def records(name: str = "first", started: float = 1.7e9):
    *others, end = sweep(name, started=started)
    return [*others, replace(end, winner="focal (not distinguishable from ce)", best="focal")]


def versions(uri):
    found = MlflowClient(uri).search_model_versions(f"name = '{NAME}'")
    return {int(each.version): each for each in found}


def champion(uri):
    return int(MlflowClient(uri).get_model_version_by_alias(NAME, "champion").version)


def make_of_sweep(folder: Path, name: str, strategy: str = "focal", seed: int = 0):
    made = {"sweep": name, "strategy": strategy, "verdict": f"{strategy} is ahead.", "splits": 10}
    return make_model(folder / "models" / strategy, seed=seed, made=made)


def test_a_sweep_makes_a_version_and_the_newest_winner_is_champion(uri, workdir):
    make_of_sweep(workdir / "one", "first")
    make_of_sweep(workdir / "one", "first", "ohem", seed=5)
    mirror(workdir / "one", uri, records())
    found = versions(uri)
    assert {version.tags["strategy"] for version in found.values()} == {"ohem", "focal"}
    (run,) = [run for run in read_runs(uri) if run.data.tags["lossfleet.kind"] == "sweep"]
    assert {version.run_id for version in found.values()} == {run.info.run_id}
    assert found[champion(uri)].tags["strategy"] == "focal"
    assert found[champion(uri)].description == "focal is ahead."
    # Sent again, all is there already.
    mirror(workdir / "one", uri)
    assert versions(uri).keys() == found.keys()
    make_of_sweep(workdir / "two", "second", seed=7)
    mirror(workdir / "two", uri, records("second", started=1.8e9))
    assert sorted(versions(uri)) == [1, 2, 3]
    assert champion(uri) == 3
    mirror(workdir / "one", uri)
    assert champion(uri) == 3
    # Every name leads to the bytes that were kept.
    for model, own in (
        (NAME, "two"),
        ("models:/bank@champion", "two"),
        (f"models:/bank/{min(n for n, each in found.items() if each.tags['strategy'] == 'focal')}", "one"),
        (found[1].source.replace(run.info.artifact_uri, f"runs:/{run.info.run_id}"), "one"),
        (str(workdir / "one/models/focal"), "one"),
    ):
        strategy = "ohem" if model.startswith("runs:/") and found[1].tags["strategy"] == "ohem" else "focal"
        with fetched_model(model, uri) as folder:
            weights = (folder / "data/weights.safetensors").read_bytes()
        assert weights == (workdir / own / f"models/{strategy}/data/weights.safetensors").read_bytes()


def test_a_registry_that_cannot_be_written_loses_nothing(uri, workdir, monkeypatch):
    make_of_sweep(workdir / "one", "first")

    def away(*args, **kwargs):
        raise OSError("the registry is away")

    monkeypatch.setattr("lossfleet.runners.tracking.writer.SECONDS_AT_THE_END", 0.1)
    monkeypatch.setattr(MlflowClient, "create_model_version", away)
    with pytest.raises(OSError, match="the registry is away"):
        mirror(workdir / "one", uri, records())
    (run,) = [run for run in read_runs(uri) if run.data.tags["lossfleet.kind"] == "sweep"]
    assert run.info.status == "FINISHED"
    assert run.data.tags["winner"].startswith("focal")
    assert not versions(uri)
    monkeypatch.undo()
    mirror(workdir / "one", f"{uri}")
    assert champion(uri) == 1


def test_what_is_not_there_is_refused_with_what_is(uri, workdir):
    with (
        pytest.raises(UserError, match=r"no model bank.*a model that a sweep has kept"),
        fetched_model(NAME, uri),
    ):
        pass
    make_of_sweep(workdir / "one", "first")
    mirror(workdir / "one", uri, records())
    for model in ("bonk", "models:/bank/9", "models:/bank@loser", "runs:/nothing/models/focal"):
        refused = pytest.raises(UserError, match=rf"no model {model}.*expected one of bank, or a folder")
        with refused, fetched_model(model, uri):
            pass
    (workdir / "empty").mkdir()
    with pytest.raises(UserError, match="a folder without a file MLmodel"), fetched_model("empty", uri):
        pass
    shutil.rmtree(registry_source(uri))
    with pytest.raises(UserError, match="the files of bank are not at"), fetched_model(NAME, uri):
        pass
    with pytest.raises(UserError, match="no MLflow database"), fetched_model(NAME, "sqlite:///elsewhere.db"):
        pass


def registry_source(uri) -> Path:
    client = MlflowClient(uri)
    place = fetch._on_this_machine(client.get_model_version_download_uri(NAME, "1"))
    assert place is not None
    return place


def test_names_of_models_take_neither_slash_nor_colon():
    assert registry.registered_name("a/b:c") == "a_b_c"
    assert registry.registered_name(EXPERIMENT) == EXPERIMENT


def test_mlflow_loads_a_model_where_neither_lossfleet_nor_mindspore_is(tmp_path):
    """In a virtual environment with all that this one has, less those two."""
    model = make_model(tmp_path / "model")
    venv.create(tmp_path / "venv", with_pip=False)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for entry in Path(pd.__file__).parents[1].iterdir():
        is_left_out = entry.name.lower().startswith(
            ("mindspore", "lossfleet", "hydra", "optuna", "__editable")
        )
        if not is_left_out and entry.suffix != ".pth" and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    code = f"""
import importlib.util, mlflow
assert not any(importlib.util.find_spec(name) for name in ("mindspore", "lossfleet"))
model = mlflow.pyfunc.load_model({str(tmp_path / "model")!r})
rows = model.metadata.load_input_example({str(tmp_path / "model")!r})
assert len(model.metadata.signature.inputs.inputs) == 5
model.predict(rows).to_json("predicted.json", orient="split", double_precision=15)
model.predict(rows, params={{"decision": "prior"}})
"""
    command = [str(tmp_path / "venv/bin/python"), "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    predicted = pd.read_json(tmp_path / "predicted.json", orient="split")
    expected = model.predict(bank().head(5)).astype({"class": str})
    assert predicted["class"].tolist() == expected["class"].tolist()
    pd.testing.assert_frame_equal(predicted, expected, check_dtype=False, atol=1e-14)
    requirements = (tmp_path / "model/requirements.txt").read_text().split()
    assert [each.partition("==")[0] for each in requirements] == ["mlflow", "numpy", "pandas", "safetensors"]
    assert not [file for file in (tmp_path / "model").rglob("*") if file.suffix in (".pkl", ".pickle")]
