"""A whole sweep that decides by a threshold: its table from both places, its references, and the model it keeps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sweeps_here import send, sweep_here
from whole_sweeps import journal

from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.records import ReferenceRecord, ReplicateRecord
from lossfleet.sweeps.commands import cli
from lossfleet.sweeps.comparison.frame import frame, frame_from_records
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report.tables import markdown_table

SMALL = (
    "data=breast_cancer",
    "strategy=ce,weighted_ce",
    "budget.trials=3",
    "budget.replicates=2",
    "budget.epochs=4",
    "budget.rungs=2",
    "budget.final_replicates=3",
    "references=[logistic]",
    "keep=winner",
    "keep.members=2",
)
METRIC = "f1[malignant]"


def test_a_sweep_fits_a_threshold_shows_what_it_gives_and_keeps_it(uri, workdir, monkeypatch, capsys):
    sweep_here(monkeypatch, *SMALL, "decision=threshold", f"decision.metric={METRIC}")
    printed = capsys.readouterr().out
    records = journal(workdir).read()
    comparison = summary(frame_from_records(records))
    assert comparison.metrics[-1] == f"test_decided_{METRIC}"
    assert "decided" in printed
    assert "f1[malignant]" in printed
    send(workdir, uri, "breast_cancer")
    assert markdown_table(summary(frame(["breast_cancer"], uri=uri))) == markdown_table(comparison)
    (reference,) = [record for record in records if isinstance(record, ReferenceRecord)]
    finals = [record for record in records if isinstance(record, ReplicateRecord) and record.stage == "final"]
    for record in (*finals, *reference.replicates):
        assert 0 < record.metrics["decision_threshold"] < 1
        assert record.metrics[f"validation_decided_{METRIC}"] >= record.metrics[f"validation_{METRIC}"]
    shown = comparison.references[f"test_decided_{METRIC}"].item()
    fitted = [record.metrics[f"test_decided_{METRIC}"] for record in reference.replicates]
    assert shown == pytest.approx(np.mean(fitted))
    (folder,) = workdir.glob("studies/*/models/*")
    model = read_model(folder)
    of_winner = [record.metrics["decision_threshold"] for record in finals if record.strategy == folder.name]
    threshold = {"class": "malignant", "at_least": pytest.approx(np.mean(of_winner))}
    assert (model.description["decision"], model.description["threshold"]) == ("threshold", threshold)
    rows = load_breast_cancer(as_frame=True).data
    predicted = model.predict(rows)
    is_malignant = predicted["probability_malignant"] >= np.mean(of_winner)
    assert (predicted["class"] == "malignant").tolist() == is_malignant.tolist()
    assert "malignant from a probability of" in (folder / "model_card.md").read_text()


def test_a_sweep_by_costs_shows_what_they_save_and_keeps_them(uri, workdir, monkeypatch, capsys):
    costs = "decision.costs={malignant:{benign:10},benign:{malignant:1}}"
    sweep_here(monkeypatch, *SMALL, "references=[]", "decision=costs", costs)
    comparison = summary(frame_from_records(journal(workdir).read()))
    assert comparison.metrics[-2:] == ("test_argmax_cost", "test_decided_cost")
    send(workdir, uri, "breast_cancer")
    assert markdown_table(summary(frame(["breast_cancer"], uri=uri))) == markdown_table(comparison)
    (folder,) = workdir.glob("studies/*/models/*")
    description = read_model(folder).description
    assert description["decision"] == "costs"
    by_class = dict(zip(description["classes"], description["costs"], strict=True))
    assert sum(by_class["malignant"]) == 10
    assert sum(by_class["benign"]) == 1
    capsys.readouterr()
    wanted = "test_decided_cost,test_balanced_accuracy"
    assert cli.main(["compare", "--metrics", wanted, "--format", "csv", "--uri", uri]) == 0
    means = [float(line.split(",")[7]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert means == sorted(means)
