"""docs/images.md: its sweeps are planned as they stand there, and one is run, kept, and classifies further images."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_files import picture, write_folder, write_picture
from sweeps_here import sweep_here

from lossfleet.sweeps.commands import cli
from lossfleet.sweeps.planning.compose import run_sweeper

PAGE = (Path(__file__).parents[2] / "docs/images.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"^lossfleet (.*)$", PAGE, re.MULTILINE)]
# The experiments have a test of their own.
COMMANDS = [words for words in COMMANDS if not words[1].startswith("experiment=")]
SWEEPS = [words[1:] for words in COMMANDS if words[0] == "sweep"]
COUNTS = {"blight": 12, "healthy": 24}
TINY = (
    *("strategy=ce", "budget.trials=2", "budget.replicates=1", "budget.epochs=3", "budget.rungs=1"),
    *("budget.final_replicates=2", "references=[dummy]", "keep.members=2", "augmentation=standard"),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the page names: leaves that get darker with blight."""
    monkeypatch.chdir(tmp_path)
    for root, counts in (("leaves", COUNTS), ("labelled", {"blight": 3, "healthy": 5})):
        for seed, (name, count) in enumerate(counts.items()):
            for number in range(count):
                leaf = picture(1000 * seed + number, height=20, width=15) // (2 - seed)
                write_picture(tmp_path / f"{root}/{name}/{number}.jpg", leaf)
    written = write_folder(tmp_path / "photos", COUNTS)
    rows = {
        "name": list(written),
        "kind": [each[0] for each in written],
        "patient": np.arange(len(written)) // 2,
    }
    pd.DataFrame(rows).to_csv("labels.csv", index=False)
    write_picture(tmp_path / "photo.jpg", picture(5))
    np.savez("new.npz", X=np.stack([picture(n) for n in range(3)]))
    random = np.random.default_rng(0)
    np.savez("embeddings.npz", X=random.normal(size=(60, 8)), y=np.arange(60) % 3)
    return tmp_path


@pytest.mark.parametrize("words", SWEEPS, ids=" ".join)
def test_sweeps_of_the_page_are_planned(folder, words):
    plans: list = []
    run_sweeper(words, plans.append)
    (plan,) = plans
    data = plan.studies[0].config.data
    assert data.label.startswith(f"{Path(data.source['path']).stem}-")
    assert Path(data.source["path"]).is_absolute()
    assert data.classes in (2, 3)


def test_a_sweep_of_the_page_is_run_and_its_model_classifies(folder, monkeypatch, capsys):
    (ran,) = sweep_here(monkeypatch, *SWEEPS[0], *TINY).plans
    told = capsys.readouterr().err
    assert "leaves: 36 images; 28 x 28 pixels, resized from 15 x 20, colour" in told
    assert "classes (2): healthy 24, blight 12; the rarest is blight" in told
    (sweep,) = (folder / "studies").iterdir()
    # Not at the end, where no figures are drawn here.
    assert [each.name for each in (sweep / "figures").iterdir()] == ["examples.png"]
    assert sweep.name == ran.sweep
    mistakes = pd.read_csv(sweep / "mistakes.csv")
    assert list(mistakes) == ["file", "class", "taken_for", "tested", "wrong", "probability", "always"]
    model = str(sweep / "models/ce")
    for words in COMMANDS[len(SWEEPS) :]:
        assert words[0] in ("predict", "evaluate")
        assert cli.main([words[0], model, *words[2:]]) == 0
    predicted = pd.read_csv("predictions.csv")
    assert predicted["file"].tolist() == sorted(predicted["file"])
    assert len(predicted) == 36
    assert "leaves-" in (out := capsys.readouterr().out)
    assert "on 8 images of labelled" in out
