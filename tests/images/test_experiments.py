"""The experiments with images: planned as docs/images.md says, and one goes from a file to a verdict."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
from image_files import faces_row, write_clothes
from sweeps_here import sweep_here

from lossfleet.sweeps.planning.compose import run_sweeper

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FINDINGS = ((DOCS / name).read_text() for name in ("images.md", "findings.md"))
FASHION, FACES = (
    shlex.split(line)[2:] for line in re.findall(r"^(lossfleet sweep experiment=.*)$", PAGE, re.MULTILINE)
)
# FER2013's training rows by class, in its order.
FACE_COUNTS = (3995, 436, 4097, 7215, 4830, 3171, 4965)
SHARE_OF_FACES = 40


def test_clothes_of_three_long_tails_are_planned(tmp_path):
    write_clothes(tmp_path)
    plans: list = []
    run_sweeper([*FASHION, f"data.path={tmp_path}"], plans.append)
    assert [plan.studies[0].config.data.long_tail for plan in plans] == [10, 50, 100]
    assert [study.strategy for study in plans[0].studies] == [
        *("ce", "focal", "weighted_ce", "logit_adjusted", "ldam_drw")
    ]


def test_commands_of_the_findings_are_planned(tmp_path):
    write_clothes(tmp_path)
    commands = [
        shlex.split(line)[2:] for line in re.findall(r"^(lossfleet sweep .*)$", FINDINGS, re.MULTILINE)
    ]
    assert len(commands) == 5
    for command in commands:
        plans: list = []
        path = [f"data.path={tmp_path}"] if "experiment=fashion_mnist_lt" in command else []
        run_sweeper([*command, *path], plans.append)
        if "loss.tau=0" in command:
            (focal,) = (study for study in plans[0].studies if study.strategy == "focal")
            assert "loss.tau" not in [each.name for each in focal.space]


def test_faces_go_from_the_file_to_a_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    with (tmp_path / "fer2013.csv").open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for emotion, count in enumerate(FACE_COUNTS):
            for number in range(count // SHARE_OF_FACES):
                usage = ("Training", "Training", "Training", "PublicTest", "PrivateTest")[number % 5]
                # A face of a class is brighter than those before it.
                face = random.integers(0, 40, (48, 48)) + 30 * emotion
                file.write(faces_row(emotion, face, usage))
    tiny = ("budget.trials=1", "budget.replicates=1", "budget.epochs=2", "budget.rungs=1")
    (plan,) = sweep_here(monkeypatch, *FACES, *tiny, "budget.final_replicates=2", "keep=none").plans
    told = capsys.readouterr()
    assert "the rarest is disgust" in told.err
    assert [study.strategy for study in plan.studies] == [
        *("ce", "weighted_ce", "focal", "resampling", "logit_adjusted")
    ]
    records = (tmp_path / "studies" / plan.sweep / "records.jsonl").read_text().splitlines()
    finals = [each for each in map(json.loads, records) if each.get("stage") == "final"]
    recalls = [each["metrics"]["test_recall[disgust]"] for each in finals if each.get("metrics")]
    assert len(recalls) >= 5
    assert "disgust" in told.out
