"""References: estimators of scikit-learn's kind, measured as final replicates are."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import sweep_records
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LogisticRegression

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part, named_part, part_names
from lossfleet.conf.schema import Budget, choose
from lossfleet.conf.searching import Search
from lossfleet.runners.metrics.evaluation import final_metric_names
from lossfleet.runners.records import Journal, ReferenceRecord, decode_record, encode_record
from lossfleet.runners.tracking.runs import RunTree
from lossfleet.runners.training.references import check_estimator, evaluate_reference
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.comparison.frame import frame_from_records
from lossfleet.sweeps.planning.compose import run_sweeper
from lossfleet.sweeps.running import references
from lossfleet.sweeps.running.references import fit_references, missing_references

PAIRS = [(100, 1000), (101, 1001)]


@pytest.fixture(scope="module")
def factory():
    return ReplicateFactory(choose("data", "wine"))


@pytest.fixture(scope="module")
def logistic(factory) -> ReferenceRecord:
    return evaluate_reference(named_part("reference", "logistic"), factory, PAIRS, Search())


def test_a_reference_is_fitted_on_the_training_part_and_scored_on_the_others(factory, logistic):
    assert [(each.seed, each.split, each.state) for each in logistic.replicates] == [
        (*pair, "COMPLETE") for pair in PAIRS
    ]
    for replicate, (seed, number) in zip(logistic.replicates, PAIRS, strict=True):
        split = factory.split(seed, number)
        model = LogisticRegression(class_weight="balanced", max_iter=1000, random_state=seed)
        model.fit(split.train_features, split.train_labels)
        for part in ("validation", "test"):
            features, labels = getattr(split, f"{part}_features"), getattr(split, f"{part}_labels")
            predicted, probabilities = model.predict(features), model.predict_proba(features)
            expected = {
                "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, predicted),
                "log_loss": sklearn_metrics.log_loss(labels, probabilities),
                "roc_auc": sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr"),
                "recall[class_1]": sklearn_metrics.recall_score(labels, predicted, average=None)[1],
            }
            found = {name: replicate.metrics[f"{part}_{name}"] for name in expected}
            assert found == pytest.approx(expected, rel=1e-6)
        assert replicate.metrics["train_rows"] == len(split.train_labels)


def test_it_has_all_that_a_final_replicate_has_but_the_training_loss(factory, logistic):
    names = final_metric_names(factory.dataset.class_names)
    for replicate in logistic.replicates:
        assert set(replicate.metrics) == set(names) - {"train_loss", "test_pool_rows"}
        assert not any(math.isnan(value) for value in replicate.metrics.values())
    one, other = logistic.replicates
    assert one.metrics != other.metrics


@pytest.mark.parametrize("name", part_names("reference"))
def test_every_reference_of_ours_is_an_estimator_without_certainty_that_breaks(factory, name):
    reference = named_part("reference", name)
    check_estimator(reference)
    record = evaluate_reference(reference, factory, PAIRS[:1], Search(metric="roc_auc"))
    assert (record.reason, len(record.replicates)) == (None, 1)
    assert np.isfinite(list(record.replicates[0].metrics.values())).all()


def test_what_fails_has_failed_alone(factory):
    broken = named_part("reference", "logistic").replace(max_iter=-1)
    record = evaluate_reference(broken, factory, PAIRS, Search())
    assert record.replicates == []
    assert "max_iter" in record.reason
    assert "Traceback" in record.error


def test_an_estimator_without_probabilities_is_refused():
    with pytest.raises(UserError, match="reference=svm has no predict_proba"):
        check_estimator(Part("reference", "svm", "sklearn.svm.LinearSVC"))


def test_the_journal_gives_its_rows_and_a_second_fit_takes_their_place(logistic):
    assert decode_record(encode_record(logistic)) == logistic
    again = dataclasses.replace(logistic, started=logistic.started + 1)
    tree = RunTree()
    runs = tree.add([sweep_records.start(), logistic, again])
    assert len({run.key for run in runs}) == len(runs) == 2 * (1 + len(PAIRS))
    assert {run.tags["stage"] for run in runs} == {"reference"}
    assert runs[0].params["reference.class_weight"] == "balanced"
    table = frame_from_records([sweep_records.start(), logistic, again])
    assert table["trial"].tolist() == [0, 0, 1, 1]
    assert set(table["strategy"]) == {"logistic"}


def test_only_what_the_journal_lacks_is_fitted(tmp_path):
    plans: list = []
    budget = ["data=wine", "strategy=ce", "budget.final_replicates=2"]
    run_sweeper([*budget, "references=[dummy,logistic]"], plans.append)
    run_sweeper([*budget, "references=[]"], plans.append)
    plan, without = plans
    # They do not decide what strategies score, so they do not name the sweep.
    assert plan.sweep == without.sweep
    assert "references" not in without.studies[0].to_dict()
    journal = Journal(tmp_path / "records.jsonl")
    fit_references(plan, tmp_path)
    records = journal.read()
    assert [record.part["name"] for record in records] == ["dummy", "logistic"]
    assert [(each.seed, each.split) for each in records[0].replicates] == Budget(
        final_replicates=2
    ).final_pairs()
    assert missing_references(plan, records) == []
    fit_references(plan, tmp_path)
    assert journal.read() == records
    assert [each.name for each in missing_references(plan, records[1:])] == ["dummy"]


def test_references_that_would_take_too_much_memory_are_left_out(tmp_path, monkeypatch, capsys):
    plans: list = []
    for data in ("digits", "wine"):
        run_sweeper(
            [f"data={data}", "strategy=ce", "budget.final_replicates=2", "references=[dummy]"], plans.append
        )
    # Less than either data set takes, and tables are in memory anyway.
    monkeypatch.setattr(references, "memory", lambda: 4_000)
    for plan in plans:
        fit_references(plan, tmp_path / plan.data.label)
    assert capsys.readouterr().err == (
        "the references are left out: 1,079 images as numbers would take up to 0.0 GB, and a quarter of the memory is "
        "0.0 GB; data.size or data.limit has less\n"
    )
    assert not (tmp_path / "digits").exists()
    assert len(Journal(tmp_path / "wine/records.jsonl").read()) == 1
