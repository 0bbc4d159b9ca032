"""Parts of a user's own, from a folder outside the repository: planned, tried, trained and compared like ours."""

from __future__ import annotations

import io
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pandas as pd
import pytest
import yaml
from forks import run_command

from lossfleet.conf.errors import UserError
from lossfleet.conf.metrics import metrics_in, sign_of
from lossfleet.sweeps.commands import folders
from lossfleet.sweeps.commands.check import check_parts
from lossfleet.sweeps.commands.cli import main
from lossfleet.sweeps.commands.folders import importable
from lossfleet.sweeps.planning.compose import run_sweeper, with_folders
from lossfleet.sweeps.planning.plan import Plan, trial_config

FILES = {
    "first.py": """
from typing import Annotated
from annotated_types import Ge
from mindspore import ops
from lossfleet.losses import softmax_cross_entropy

def first(logits, labels, *, epsilon: Annotated[float, Ge(-1)] = 1.0):
    losses = softmax_cross_entropy(logits, labels)
    return losses + epsilon * (1 - ops.exp(-losses))
""",
    "loss/first.yaml": "_target_: first.first\nepsilon: 1.0\n",
    "strategy/first.yaml": """
# @package _global_
defaults:
  - override /loss: first
strategy: first
space:
  optimizer.lr: tag(log, interval(1e-4, 1e-1))
  loss.epsilon: interval(0, 5)
""",
    "mine.py": """
import numpy as np

def worst_error(confusion):
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    return 1 - (hits / confusion.sum(axis=2)).min(axis=1)

def square_root(labels, draws, random, power: float = 0.5):
    weight = np.bincount(labels)[labels] ** -power
    return random.choice(len(labels), draws, p=weight / weight.sum())

def blobs(rows: int = 120):
    random = np.random.default_rng(3)
    labels = (np.arange(rows) % 4 == 0).astype(int)
    return random.normal(size=(rows, 5)) + labels[:, None], np.where(labels == 1, "rare", "common")
""",
    "metric/worst_error.yaml": "_target_: mine.worst_error\ndirection: minimize\n",
    "sampler/square_root.yaml": "_target_: mine.square_root\npower: 0.5\n",
    "data/blobs.yaml": "_target_: mine.blobs\nrows: 120\n",
}
OF_MINE = ("data=blobs", "strategy=first,ce", "sampler=square_root", "search.metric=worst_error")


@pytest.fixture
def folder(tmp_path):
    """A folder of a user's; its path has what must be quoted."""
    return written(tmp_path / "it's mine")


def written(folder: Path, files: dict[str, str] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def plan(folder: Path, *arguments: str) -> Plan:
    found: list[Plan] = []
    with importable([str(folder)]) as places:
        run_sweeper(with_folders(arguments, places), found.append)
        check_parts(found[0])
    return found[0]


def test_parts_of_the_user_are_planned_like_ours(folder):
    found = plan(folder, *OF_MINE)
    assert [each.strategy for each in found.studies] == ["first", "ce"]
    assert found.data.class_names == ("common", "rare")
    assert found.sweep.startswith("blobs-")
    mine, ce = found.studies
    assert [each.name for each in mine.space] == ["optimizer.lr", "loss.epsilon"]
    assert ce.config.sampler.to_dict() == {
        "name": "square_root",
        "_target_": "mine.square_root",
        "power": 0.5,
    }
    assert [metric.sign for metric in found.search.measures] == [-1]
    with importable([str(folder)]):
        assert trial_config(mine, {"loss.epsilon": 3.0}).loss["epsilon"] == 3
        assert type(mine).from_stored(mine.to_stored()) == mine


def test_the_folder_can_be_imported_from_while_the_command_runs_and_no_longer(folder):
    before = list(sys.path)
    with importable([str(folder)]):
        # Installed packages come first: a file of the user's never takes the place of one of theirs.
        assert sys.path == [*before, str(folder)]
        import mine

        assert mine.__file__ == str(folder / "mine.py")
    assert sys.path == before
    assert "mine" not in sys.modules


def test_metrics_of_a_folder_say_what_is_better(folder):
    with importable([str(folder)]) as places:
        (metric,) = metrics_in(places)
        assert (metric.name, metric.sign, metric.is_of_decisions) == ("worst_error", -1, True)
    plan(folder, *OF_MINE)
    assert sign_of("test_corrected_worst_error") == -1


def test_a_search_path_of_hydras_stays(folder, tmp_path):
    other = written(
        tmp_path / "other", {"experiment/small.yaml": "# @package _global_\nbudget: {trials: 3}\n"}
    )
    found = plan(folder, f"hydra.searchpath=[{other.as_uri()}]", "experiment=small", "strategy=first")
    assert (found.budget.trials, found.studies[0].config.loss.name) == (3, "first")


def test_an_installed_package_adds_parts(tmp_path, monkeypatch):
    files = {name if name.endswith(".py") else f"conf/{name}": text for name, text in FILES.items()}
    files = {name.replace(".py", "_of_package.py"): text for name, text in files.items()}
    files["conf/loss/first.yaml"] = "_target_: a_plugin.first_of_package.first\nepsilon: 2.0\n"
    del (
        files["conf/metric/worst_error.yaml"],
        files["conf/sampler/square_root.yaml"],
        files["conf/data/blobs.yaml"],
    )
    written(tmp_path / "a_plugin", files | {"__init__.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("mine", "a_plugin", folders.PLUGINS)
    monkeypatch.setattr(folders, "entry_points", lambda group: [point] if group == folders.PLUGINS else [])
    found: list[Plan] = []
    with importable([]) as places:
        run_sweeper(with_folders(["strategy=first"], places), found.append)
    assert found[0].studies[0].config.loss["epsilon"] == 2


@pytest.mark.parametrize(
    ("files", "arguments", "said"),
    [
        ({"first.py": "def first(logits, labels, *, gama=1.0):\n    pass\n"}, "strategy=first", "first.py, line 1"),
        ({"first.py": "def first(logits, labels\n"}, "strategy=first", "first.py, line 1"),
        ({"first.py": "import nowhere\n" + FILES["first.py"]}, "strategy=first", "first.py, line 1: ModuleNotFound"),
        ({"first.py": "def second(logits, labels, epsilon=1.0): pass\n"}, "strategy=first", "first.py has no first"),
        ({"first.py": "def first(logits, labels, epsilon, theta): pass\n"}, "strategy=first", "takes theta"),
        ({"loss/first.yaml": "epsilon: 1.0\n"}, "strategy=first", "_target_"),
        ({"loss/first.yaml": "_target_: os.remove\nepsilon: 1.0\n"}, "strategy=first", "os.remove"),
        ({"loss/first.yaml": "_target_: [\n"}, "strategy=first", "cannot be composed"),
        ({"loss/focal.yaml": "_target_: first.first\n"}, "strategy=first", "the name of lossfleet's own loss focal"),
        ({"metric/worst_error.yaml": "_target_: mine.worst_error\n"}, "strategy=ce", "has no direction"),
        (
            {"metric/cost.yaml": "_target_: mine.worst_error\ndirection: minimize\n"},
            "strategy=ce",
            "a metric is named cost, as what decision=costs measures is; expected another name",
        ),
        ({"mine.py": "def worst_error(confusion):\n    return confusion\n"}, "strategy=ce", "the shape (3, 5, 5)"),
        ({"mine.py": "def worst_error(confusion):\n    return confusion[:, 9, 9]\n"}, "strategy=ce",
         "mine.py, line 2: IndexError"),
        ({"mine.py": FILES["mine.py"].replace("draws, p", "draws - 1, p")}, "strategy=ce sampler=square_root",
         "expected"),
        ({"mine.py": FILES["mine.py"].replace("return random.normal", "return 1 / 0 + random.normal")},
         "strategy=ce data=blobs", "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_wrong_code_is_said_with_its_place_before_anything_is_trained(
    files, arguments, said, folder, workdir, capsys
):
    written(folder, files)
    assert main(["sweep", "--config-dir", str(folder), *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("lossfleet: error: ")
    assert [path.name for path in workdir.iterdir()] == [folder.name]


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="there is no such folder"), importable(["nowhere"]):
        pass


def test_parts_of_the_user_are_trained_and_compared_like_ours(folder, tmp_path):
    """From another working directory, in two processes, with the user's own metric to decide."""
    small = (
        "budget.trials=2",
        "budget.replicates=2",
        "budget.epochs=2",
        "budget.rungs=1",
        "budget.final_replicates=2",
    )
    arguments = ("sweep", "--config-dir", folder.name, *OF_MINE, *small, "references=[]", "fleet.processes=2")
    done = run_command(arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "first" in done.stdout
    (configuration,) = tmp_path.glob("studies/blobs-*/config.yaml")
    studies = yaml.safe_load(configuration.read_text())["studies"]
    assert studies["first"]["loss"]["_target_"] == "first.first"
    compare = ("compare", "--config-dir", folder.name, "--format", "csv", "--metrics")
    table = run_command((*compare, "test_worst_error,test_corrected_worst_error"), tmp_path)
    assert table.returncode == 0, table.stderr
    scores = pd.read_csv(io.StringIO(table.stdout))
    assert set(scores["strategy"]) == {"first", "ce"}
    # Less is better of it: the best strategy stands first.
    assert scores["test_worst_error"].is_monotonic_increasing
