"""A sweep on a table with weights, and its model: all that is measured weighs rows, and what does not is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score
from sweeps_here import sweep_here
from whole_sweeps import journal

from lossfleet.runners.metrics.evaluation import confusion_names
from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.records import ReferenceRecord, ReplicateRecord, SweepRecord
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.commands import cli

COUNTED = """
def counted(probabilities, labels):
    return (probabilities.argmax(1) == labels).mean(1)
"""
ARGUMENTS = (
    *("data=csv", "data.path=survey.csv", "data.target=vote", "data.weight=size", "name=survey"),
    *("strategy=weighted_ce,resampling", "sampler=shuffle,smote", "model.widths=[7]", "keep.members=2"),
    *(
        "budget.trials=2",
        "budget.replicates=1",
        "budget.epochs=2",
        "budget.rungs=1",
        "budget.final_replicates=2",
    ),
    *("references=[dummy,easy_ensemble]", "--config-dir=mine"),
)


def survey() -> pd.DataFrame:
    random = np.random.default_rng(5)
    x = random.normal(size=301)
    # Those who vote yes count little, and there are few of them.
    vote = np.where(x + random.normal(size=301) > 1.1, "yes", "no")
    size = random.uniform(0.5, 4, 301) * np.where(vote == "yes", 0.3, 1)
    return pd.DataFrame({"x": x, "same": 1, "size": size, "vote": vote})


def test_a_sweep_weighs_rows_and_so_does_its_model(workdir, capsys, monkeypatch):
    written = survey()
    written.to_csv("survey.csv", index=False)
    Path("mine/metric").mkdir(parents=True)
    Path("mine/counted.py").write_text(COUNTED, encoding="utf-8")
    Path("mine/metric/counted.yaml").write_text(
        "_target_: counted.counted\ndirection: maximize\n", encoding="utf-8"
    )
    (plan,) = sweep_here(monkeypatch, *ARGUMENTS).plans
    printed = capsys.readouterr()
    mean = written["size"].mean()
    line = f"weights: from the column size, {written['size'].min():.6g} to {written['size'].max():.6g}, mean {mean:.3g}"
    assert line in printed.err
    assert "metric counted counts all rows alike: it takes none of confusion, ranking" in printed.err
    assert "the reference easy_ensemble is fitted on rows that count alike" in printed.err
    assert "dummy is fitted" not in printed.err

    records = journal(workdir, "survey").read()
    (sweep,) = [each for each in records if isinstance(each, SweepRecord)]
    assert any(each.startswith(line) for each in sweep.dataset["read"])
    finals = [each for each in records if isinstance(each, ReplicateRecord) and each.stage == "final"]
    measured = [one for each in records if isinstance(each, ReferenceRecord) for one in each.replicates]
    assert (len(finals), len(measured)) == (4, 4)
    factory = ReplicateFactory.of(plan.studies[0].config)
    for record in (*finals, *measured):
        split = factory.split(record.seed, record.split)
        names = confusion_names(factory.dataset.class_names)
        confusion = np.reshape([record.metrics[name] for name in names], (2, 2))
        of_class = np.bincount(split.test_labels, split.test_weights)
        np.testing.assert_allclose(confusion.sum(axis=1), of_class)
        assert record.metrics["test_rows"] == len(split.test_labels)
        recalls = np.diag(confusion) / of_class
        assert np.isclose(record.metrics["test_balanced_accuracy"], recalls.mean())
    # Shuffled, a column without influence loses nothing: before and behind, the same rows weigh the same.
    asked = [each.importance for each in finals if each.importance]
    assert len(asked) == 4
    assert {importance["same"] for importance in asked} == {0.0}
    assert len({importance["x"] for importance in asked}) > 1

    (folder,) = (workdir / "studies/survey/models").iterdir()
    model = read_model(folder)
    prior = np.bincount(written["vote"] == "yes", written["size"]) / written["size"].sum()
    np.testing.assert_allclose(model.description["prior"], prior)
    new = survey().sample(120, random_state=1)
    new.to_csv("new.csv", index=False)
    expected = balanced_accuracy_score(
        new["vote"], model.predict(new)["class"].astype(str), sample_weight=new["size"]
    )
    assert cli.main(["evaluate", str(folder), "new.csv"]) == 0
    printed = capsys.readouterr()
    assert "120 rows of new.csv, weighed by size, decisions by argmax" in printed.out
    assert f"balanced accuracy  {expected:8.4f}" in printed.out
    new.drop(columns=["size", "vote"]).to_csv("bare.csv", index=False)
    assert cli.main(["predict", str(folder), "bare.csv", "--output", "predicted.csv"]) == 0
    new.drop(columns="size").to_csv("plain.csv", index=False)
    assert cli.main(["evaluate", str(folder), "plain.csv"]) == 0
    printed = capsys.readouterr()
    assert "plain.csv has no column size: all rows count alike" in printed.err
    alike = balanced_accuracy_score(new["vote"], model.predict(new)["class"].astype(str))
    assert f"balanced accuracy  {alike:8.4f}" in printed.out
    assert f"{alike:.4f}" != f"{expected:.4f}"
    new.assign(size=[*new["size"][:-1], -1]).to_csv("wrong.csv", index=False)
    assert cli.main(["evaluate", str(folder), "wrong.csv"]) == 2
    assert "the weight 'size' has -1 in row 120" in capsys.readouterr().err
