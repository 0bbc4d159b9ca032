"""Parts of the user's own, from a folder outside of the repository, and docs/extend.md."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from forks import run_command

from lossfleet.conf.schema import choose
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.prediction.stored import read_model

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "mine"
TINY = (
    "budget.trials=2",
    "budget.replicates=2",
    "budget.epochs=2",
    "budget.rungs=1",
    "budget.final_replicates=2",
    "tracking.enabled=false",
    "references=[]",
)


def sweep(folder: Path, *arguments: str) -> str:
    """Run a sweep with the examples, copied beside the working directory; returns its output."""
    folder.mkdir()
    if not (folder.parent / "mine").exists():
        shutil.copytree(EXAMPLES, folder.parent / "mine")
    done = run_command(("sweep", "--config-dir", "../mine", *arguments), folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def records(folder: Path) -> list[dict]:
    """What a sweep has recorded, without times."""
    (file,) = folder.glob("studies/*/records.jsonl")
    found = [json.loads(line) for line in file.read_text().splitlines()]
    kept = [each for each in found if each["kind"] in ("replicate", "trial")]
    for each in kept:
        del each["started"], each["ended"]
    return sorted(kept, key=lambda each: json.dumps(each, sort_keys=True))


def test_a_loss_of_ones_own_is_searched_trained_and_compared(tmp_path):
    output = sweep(tmp_path / "run", *TINY, "strategy=ce,my_poly1", "data=wine", "fleet.processes=2")
    assert "my_poly1" in output
    trials = [each for each in records(tmp_path / "run") if each["kind"] == "trial"]
    assert {each["strategy"] for each in trials if each["stage"] == "final"} == {"ce", "my_poly1"}
    epsilons = {
        each["params"]["loss.epsilon"]
        for each in trials
        if each["strategy"] == "my_poly1" and each["stage"] == "search"
    }
    assert len(epsilons) == 2


def test_any_cell_trains_and_repeats_exactly(tmp_path):
    for name in ("once", "again"):
        sweep(tmp_path / name, *TINY, "strategy=my_poly1", "data=wine", "model=net")
    assert records(tmp_path / "once") == records(tmp_path / "again")
    values = [each["value"] for each in records(tmp_path / "once") if each["kind"] == "trial"]
    assert all(value > 0.4 for value in values)


def test_every_kind_of_part_at_once(tmp_path):
    arguments = (
        "data=moons",
        "sampler=rarest_often,cleaning",
        "search.metric=error_cost",
        "schedule=halving",
        "model=leaky",
    )
    sweep(tmp_path / "run", *TINY, "strategy=ce", *arguments)
    finals = [each for each in records(tmp_path / "run") if each["kind"] == "replicate"]
    assert all(each["metrics"]["validation_error_cost"] >= 0 for each in finals)


def test_the_sweep_of_images_runs_and_keeps_a_model(tmp_path):
    (command,) = re.findall(
        r"^lossfleet (sweep .*model=cnn.*)$", (ROOT / "docs/extend.md").read_text(), re.MULTILINE
    )
    sweep(tmp_path / "run", *shlex.split(command)[1:], *TINY, "keep.members=2")
    (folder,) = (tmp_path / "run").glob("studies/*/models/ce")
    model, images = read_model(folder), open_dataset(choose("data", "digits"))
    assert model.description["layers"][0] == {"kind": "image", "shape": [1, 8, 8]}
    predicted = model.predict_images(np.asarray(images.features))["class"].to_numpy()
    # Chance is a tenth.
    assert (predicted == np.array(images.class_names)[images.labels]).mean() > 0.3


def test_poly1_is_its_definition(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from my_poly1 import my_poly1

    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 7, 5)).astype(np.float32)
    labels = random.integers(0, 7, (3, 5)).astype(np.int32)
    epsilon = np.repeat(np.array([[-1.0], [0.0], [3.0]], np.float32), 5, axis=1)
    exact = logits.astype(np.float64)
    probabilities = np.exp(exact) / np.exp(exact).sum(1, keepdims=True)
    p = np.take_along_axis(probabilities, labels[:, None], 1)[:, 0]
    found = my_poly1(ms.Tensor(logits), ms.Tensor(labels), epsilon=ms.Tensor(epsilon)).asnumpy()
    np.testing.assert_allclose(found, -np.log(p) + epsilon * (1 - p), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("file", sorted(str(each.relative_to(EXAMPLES)) for each in EXAMPLES.rglob("*.*")))
def test_the_documentation_shows_each_example_as_it_is(file):
    if "__pycache__" in file:
        pytest.skip("compiled")
    shown = dict(
        re.findall(r"^`([^`]+)`\n\n```\w+\n(.*?)^```", (ROOT / "docs/extend.md").read_text(), re.M | re.S)
    )
    assert shown[file] == (EXAMPLES / file).read_text()
