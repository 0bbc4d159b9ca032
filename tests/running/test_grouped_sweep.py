"""A sweep on a table with groups, with rows put aside: parts of other sizes train, prune and are measured together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sweeps_here import sweep_here
from whole_sweeps import journal

from lossfleet.runners.data.parts import draw_parts
from lossfleet.runners.metrics.evaluation import confusion_names
from lossfleet.runners.records import ReferenceRecord, ReplicateRecord, TrialRecord
from lossfleet.runners.training.replicate import ReplicateFactory

ARGUMENTS = (
    *("data=csv", "data.path=visits.csv", "data.target=ill", "data.group=patient", "evaluation=holdout"),
    *("strategy=ce,resampling", "sampler=shuffle,smote", "model.widths=[7]", "name=visits", "keep=none"),
    *(
        "budget.trials=3",
        "budget.replicates=2",
        "budget.epochs=2",
        "budget.rungs=2",
        "budget.final_replicates=3",
    ),
)


def visits() -> pd.DataFrame:
    random = np.random.default_rng(5)
    patients = random.integers(0, 67, 401)
    x = random.normal(size=401) + random.normal(size=67)[patients]
    ill = np.where(x > 1.2, "yes", "no")
    return pd.DataFrame({"x": x, "z": random.normal(size=401), "patient": patients, "ill": ill})


def test_a_sweep_on_groups_measures_each_replicate_on_its_own_rows(workdir, capsys, monkeypatch):
    visits().to_csv("visits.csv", index=False)
    (plan,) = sweep_here(monkeypatch, *ARGUMENTS, "references=[dummy]").plans
    printed = capsys.readouterr()
    records = journal(workdir, "visits").read()
    assert all(record.state != "FAIL" for record in records if isinstance(record, TrialRecord))
    finals = [each for each in records if isinstance(each, ReplicateRecord) and each.stage == "final"]
    assert len(finals) == 6

    factory = ReplicateFactory.of(plan.studies[0].config)
    (reference,) = [each for each in records if isinstance(each, ReferenceRecord)]
    assert len(reference.replicates) == 3
    for record in (*finals, *reference.replicates):
        split = factory.split(record.seed, record.split)
        for part in ("train", "validation", "test"):
            assert record.metrics[f"{part}_rows"] == len(getattr(split, f"{part}_labels"))
        names = confusion_names(factory.dataset.class_names)
        confusion = np.reshape([record.metrics[name] for name in names], (2, 2))
        assert confusion.sum(axis=1).tolist() == np.bincount(split.test_labels).tolist()
        assert record.metrics["test_pool_rows"] == split.pool_rows
    assert len({record.metrics["test_rows"] for record in finals}) > 1
    (pool,) = {record.metrics["test_pool_rows"] for record in finals}
    sentence = " ".join(printed.out.split())
    assert f"All test parts are drawn from {pool:.0f} rows that the search never saw." in sentence
    assert "From the search's validation to the test the best trials get" in sentence


def test_a_nested_evaluation_is_a_sweep_an_outer_part_and_one_comparison(workdir, capsys, monkeypatch):
    visits().to_csv("visits.csv", index=False)
    nested = (*ARGUMENTS, "evaluation=nested", "evaluation.outer_parts=2", "references=[dummy]")
    plans = sweep_here(monkeypatch, *nested).plans
    printed = " ".join(capsys.readouterr().out.split())
    assert "Side by side" in printed
    assert "Each split is an outer part with a search of its own, which never saw its test part" in printed
    tested = []
    for plan in plans:
        factory = ReplicateFactory.of(plan.studies[0].config)
        replicates = [
            each for each in journal(workdir, plan.sweep).read() if isinstance(each, ReplicateRecord)
        ]
        finals = [each for each in replicates if each.stage == "final"]
        assert len(finals) == 6
        for record in finals:
            split = factory.split(record.seed, record.split)
            assert record.metrics["test_rows"] == record.metrics["test_pool_rows"] == len(split.test_labels)
        tested.append(draw_parts(factory.dataset, factory.shares, seed=0, split=0)[0][2].tolist())
    assert [plan.sweep for plan in plans] == ["visits-outer1", "visits-outer2"]
    assert tested[0] != tested[1]
