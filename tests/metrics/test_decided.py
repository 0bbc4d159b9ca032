"""Thresholds and costs: against scikit-learn at every threshold there is, and by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from lossfleet.conf.deciding import Decision
from lossfleet.runners.metrics.calibration import fit_temperature
from lossfleet.runners.metrics.classification import Outputs, class_numbers
from lossfleet.runners.metrics.decided import decide_by_costs, decide_by_threshold, decided_names
from lossfleet.runners.metrics.evaluation import evaluate

MEMBERS, EXAMPLES = 3, 101
COUNTS = {2: np.array([211, 61]), 3: np.array([211, 61, 29])}
# What scikit-learn calls a metric, of labels and predictions where class `positive` is 1.
ORACLES = {
    "balanced_accuracy": sklearn_metrics.balanced_accuracy_score,
    "mcc": sklearn_metrics.matthews_corrcoef,
    "f1": partial(sklearn_metrics.f1_score, zero_division=0),
    "precision": partial(sklearn_metrics.precision_score, zero_division=0),
    "recall": sklearn_metrics.recall_score,
}


def part(seed, classes=2, sharpness=1.0):
    random = np.random.default_rng(seed)
    shares = COUNTS[classes] / COUNTS[classes].sum()
    labels = random.choice(classes, size=(MEMBERS, EXAMPLES), p=shares)
    logits = random.normal(size=(MEMBERS, classes, EXAMPLES))
    logits += 1.5 * (labels[:, None, :] == np.arange(classes)[:, None])
    return Outputs((sharpness * logits).astype(np.float32), labels)


def evaluated(decision, validation, test):
    counts = COUNTS[validation.logits.shape[1]]
    found, _ = evaluate(
        validation,
        test,
        class_counts=counts,
        rarest_class=len(counts) - 1,
        metric="balanced_accuracy",
        decision=decision,
    )
    return found


def of_class(metric, member, positive, probabilities, labels, threshold):
    decided = probabilities[member, positive] >= threshold
    return ORACLES[metric](labels[member] == positive, decided)


def scaled(validation, test):
    temperature = fit_temperature(*validation)[:, None, None].astype(np.float64)
    return (softmax(each.logits / temperature, axis=1) for each in (validation, test))


@pytest.mark.parametrize("metric", ["balanced_accuracy", "mcc", "f1[0]", "f1[1]"])
def test_no_threshold_is_better_on_validation_and_test_is_measured_by_the_same(metric):
    validation, test = part(0, sharpness=3.0), part(1)
    found = evaluated(Decision("threshold", metric=metric), validation, test)
    on_validation, on_test = scaled(validation, test)
    name, positive = metric.partition("[")[0], 0 if metric.endswith("[0]") else 1
    for member in range(MEMBERS):
        chosen = found["decision_threshold"][member]
        score = partial(of_class, name, member, positive, on_validation, validation.labels)
        values = np.sort(on_validation[member, positive])
        between = (np.concatenate([[0], values]) + np.concatenate([values, [1]])) / 2
        best = max(score(threshold) for threshold in between)
        assert score(chosen) == pytest.approx(best, abs=1e-12)
        assert found[f"validation_decided_{metric}"][member] == pytest.approx(best)
        expected = of_class(name, member, positive, on_test, test.labels, chosen)
        assert found[f"test_decided_{metric}"][member] == pytest.approx(expected)
    assert len(np.unique(found["decision_threshold"])) == MEMBERS


@pytest.mark.parametrize("bound", [0.6, 0.9, 1.0])
def test_the_most_precise_threshold_that_holds_a_recall(bound):
    validation, test = part(2), part(3)
    found = evaluated(Decision("threshold", at_least=f"recall[1]>={bound}"), validation, test)
    on_validation, _ = scaled(validation, test)
    for member in range(MEMBERS):
        shared = (member, 1, on_validation, validation.labels)
        held = [
            of_class("precision", *shared, threshold)
            for threshold in on_validation[member, 1]
            if of_class("recall", *shared, threshold) >= bound
        ]
        chosen = found["decision_threshold"][member]
        assert of_class("recall", *shared, chosen) >= bound
        assert of_class("precision", *shared, chosen) == pytest.approx(max(held))
        assert found["validation_decided_precision[1]"][member] == pytest.approx(max(held))
        assert found["validation_decided_recall[1]"][member] >= bound


def test_under_a_precision_it_is_the_largest_recall_and_what_cannot_be_held_is_nearly_held():
    validation, test = part(2), part(3)
    on_validation, _ = scaled(validation, test)
    for bound, metric in ((0.7, "recall"), (1.1, "precision")):
        found = evaluated(Decision("threshold", at_least=f"precision[1]>={bound}"), validation, test)
        for member in range(MEMBERS):
            shared = (member, 1, on_validation, validation.labels)
            held = [
                of_class(metric, *shared, threshold)
                for threshold in on_validation[member, 1]
                if bound > 1 or of_class("precision", *shared, threshold) >= bound
            ]
            assert found[f"validation_decided_{metric}[1]"][member] == pytest.approx(max(held))


def one_member(probabilities, labels):
    """Logits of one member whose fitted temperature is near 1, and its labels: many equal rows of each probability."""
    probabilities = np.array(probabilities)
    return Outputs(np.log(np.stack([1 - probabilities, probabilities]))[None], np.array(labels)[None])


def test_of_equally_good_thresholds_it_is_the_middle_of_the_longest_run():
    # Temperature aside: cutting in (0.1, 0.3] or in (0.3, 0.9] is equally good by accuracy, and they are one run.
    outputs = one_member([0.1, 0.3, 0.3, 0.9], [0, 0, 1, 1])
    found = evaluated(Decision("threshold", metric="accuracy"), outputs, outputs)
    probabilities, _ = scaled(outputs, outputs)
    low, _, _, high = probabilities[0, 1]
    assert found["decision_threshold"][0] == pytest.approx((low + high) / 2)
    # Two runs, (0.1, 0.3] and (0.6, 0.7], are apart: between them one is wrong more.
    outputs = one_member([0.1, 0.3, 0.6, 0.7], [0, 1, 0, 1])
    found = evaluated(Decision("threshold", metric="accuracy"), outputs, outputs)
    probabilities, _ = scaled(outputs, outputs)
    assert found["decision_threshold"][0] == pytest.approx(probabilities[0, 1][:2].mean())


def test_a_half_is_the_argmax_and_so_are_equal_costs():
    for classes in (2, 3):
        logits = part(4, classes).logits.astype(np.float64)
        probabilities = softmax(logits / 2.3, axis=1)
        argmax = logits.argmax(axis=1)
        equal = np.ones((classes, classes)) - np.eye(classes)
        np.testing.assert_array_equal(decide_by_costs(probabilities, equal), argmax)
        if classes == 2:
            for positive in (0, 1):
                decided = decide_by_threshold(probabilities, np.full(MEMBERS, 0.5), positive)
                np.testing.assert_array_equal(decided, argmax)


def test_costs_by_hand():
    decision = Decision("costs", costs={"0": {"1": 5, "2": 0.5}, "2": {"0": 7, "2": 0.25}})
    costs = [[0, 5, 0.5], [1, 0, 1], [7, 1, 0.25]]
    assert decision.cost_matrix(class_numbers(3)) == costs
    validation, test = part(5, 3), part(6, 3)
    found = evaluated(decision, validation, test)
    on_validation, on_test = scaled(validation, test)
    for member in range(MEMBERS):
        for name, probabilities, labels in (
            ("validation", on_validation[member], validation.labels[member]),
            ("test", on_test[member], test.labels[member]),
        ):
            decided = [
                min(range(3), key=lambda j, row=row: sum(row[i] * costs[i][j] for i in range(3)))
                for row in probabilities.T
            ]
            paid = [costs[label][predicted] for label, predicted in zip(labels, decided, strict=True)]
            assert found[f"{name}_decided_cost"][member] == pytest.approx(np.mean(paid))
        # Those of the test part are left over.
        assert found["test_decided_accuracy"][member] == pytest.approx(np.mean(decided == labels))
        argmax = test.logits[member].argmax(axis=0)
        paid = [costs[label][predicted] for label, predicted in zip(labels, argmax, strict=True)]
        assert found["test_argmax_cost"][member] == pytest.approx(np.mean(paid))
        assert found["validation_decided_cost"][member] < np.mean(
            [
                costs[i][j]
                for i, j in zip(validation.labels[member], validation.logits[member].argmax(0), strict=True)
            ]
        )


@pytest.mark.parametrize("decision", [Decision(), Decision("prior")])
def test_other_decisions_measure_what_was_always_measured(decision):
    validation, test = part(7), part(8)
    assert not set(evaluated(decision, validation, test)) & set(decided_names(class_numbers(2)))


def test_what_is_measured_is_named():
    validation, test = part(7), part(8)
    for decision in (Decision("threshold", at_least="mcc>=0.1"), Decision("costs", costs={"0": {"1": 3}})):
        new = evaluated(decision, validation, test).keys() - evaluated(Decision(), validation, test).keys()
        assert new < set(decided_names(class_numbers(2)))


def test_all_logits_zero_is_chance_and_a_diverged_member_is_nan():
    validation, test = part(9), part(10)
    for each in (validation, test):
        each.logits[1] = 0
    test.logits[2, 0, 5] = np.nan
    found = evaluated(Decision("threshold", metric="balanced_accuracy"), validation, test)
    assert found["test_decided_balanced_accuracy"][1] == pytest.approx(0.5)
    assert found["decision_threshold"][1] == 0.5
    assert np.isnan(found["decision_threshold"][2])
    healthy = evaluated(Decision("threshold", metric="balanced_accuracy"), part(9), part(10))
    assert found["decision_threshold"][0] == healthy["decision_threshold"][0]


def test_no_threshold_is_above_a_probability_of_one():
    # By accuracy none should be positive, but all are at any threshold up to 1.
    outputs = Outputs(np.array([[[-1e4] * 5, [1e4] * 5]]), np.array([[0, 0, 0, 1, 0]]))
    found = evaluated(Decision("threshold", metric="accuracy"), outputs, outputs)
    assert found["decision_threshold"][0] == 0.5
    assert found["validation_decided_accuracy"][0] == pytest.approx(1 / 5)
