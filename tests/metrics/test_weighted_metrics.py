"""Rows with weights in every metric: as scikit-learn weighs them, and as rows that are there as often as they weigh."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from imblearn.metrics import geometric_mean_score
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics
from test_metrics import CLASSES, EXAMPLES, MEMBERS, one_class_predicted, random_case, ties

from lossfleet.conf.deciding import Decision
from lossfleet.conf.metrics import own_metrics
from lossfleet.runners.metrics.calibration import reliability
from lossfleet.runners.metrics.classification import (
    Outputs,
    class_numbers,
    classification_metrics,
    metric_names,
)
from lossfleet.runners.metrics.evaluation import evaluate
from lossfleet.runners.metrics.ranking import interpolated_precision

RAREST = CLASSES - 1
CASES = {"random": random_case, "ties": ties, "one class predicted": one_class_predicted}


def weights_of(seed: int, shape: tuple[int, ...] = (MEMBERS, EXAMPLES)) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.7, size=shape)


def by_scikit_learn(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """What it says of one member, by our names; it has these alone."""
    predicted, probabilities = logits.argmax(0), softmax(logits.astype(float), axis=0).T
    one_hot = labels[:, None] == np.arange(CLASSES)
    weighed: dict[str, Any] = {"sample_weight": weights}
    of_classes = {**weighed, "labels": range(CLASSES), "average": None, "zero_division": 0}
    found = {
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted, **weighed),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, predicted, **weighed),
        "macro_f1": sklearn_metrics.f1_score(labels, predicted, average="macro", **weighed),
        "mcc": sklearn_metrics.matthews_corrcoef(labels, predicted, **weighed),
        "g_mean": geometric_mean_score(labels, predicted, average="multiclass", **weighed),
        "log_loss": sklearn_metrics.log_loss(labels, probabilities, **weighed),
        "brier_score": np.average(np.square(probabilities - one_hot).sum(1), weights=weights),
        "roc_auc": sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr", **weighed),
        "macro_average_precision": sklearn_metrics.average_precision_score(one_hot, probabilities, **weighed),
    }
    each = {
        "recall": sklearn_metrics.recall_score(labels, predicted, **of_classes),
        "precision": sklearn_metrics.precision_score(labels, predicted, **of_classes),
        "f1": sklearn_metrics.f1_score(labels, predicted, **of_classes),
        "f_beta": sklearn_metrics.fbeta_score(labels, predicted, beta=2, **of_classes),
        "average_precision": sklearn_metrics.average_precision_score(
            one_hot, probabilities, average=None, **weighed
        ),
    }
    found["rarest_recall"] = each["recall"][RAREST]
    return found | {
        f"{name}[{label}]": values[label] for name, values in each.items() for label in range(CLASSES)
    }


@pytest.mark.parametrize("case", CASES)
def test_metrics_are_scikit_learns_with_sample_weight(case):
    logits, labels = CASES[case]()
    weights = weights_of(1)
    # So that every class still has some.
    weights[:, CLASSES::7] = 0
    found = classification_metrics(logits, labels, weights, rarest_class=RAREST)
    for member in range(MEMBERS):
        expected = by_scikit_learn(logits[member], labels[member], weights[member])
        measured = {name: found[name][member] for name in expected}
        if case == "one class predicted":
            # Of a variance of 0 scikit-learn keeps what rounding left.
            assert measured.pop("mcc") == 0
            expected.pop("mcc")
        assert measured == pytest.approx(expected, rel=1e-9, abs=1e-9)
    untested = {name.partition("[")[0] for name in metric_names(class_numbers(CLASSES))} - {
        name.partition("[")[0] for name in expected
    }
    # The test below has these.
    assert untested - {"mcc"} == {
        "calibration_error",
        "classwise_calibration_error",
        "expected_calibration_error",
        "precision_at_recall",
        "recall_at_precision",
    }


def whole(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels and how often each example is there: some never, each class sometimes."""
    logits, labels = ties() if seed % 2 else random_case(seed)
    times = np.random.default_rng(seed).integers(0, 5, EXAMPLES)
    times[:CLASSES] = 1
    return logits, labels, times


def weighed_and_repeated(seed: int, classes: int) -> tuple[Outputs, Outputs]:
    logits, labels, times = whole(seed)
    logits, labels = logits[:, :classes].astype(float), np.minimum(labels, classes - 1)
    rows = np.repeat(np.arange(EXAMPLES), times)
    weights = np.repeat(times[None].astype(float), MEMBERS, axis=0)
    return Outputs(logits, labels, weights), Outputs(logits[:, :, rows], labels[:, rows])


DECISIONS = {
    "argmax": Decision(),
    "costs": Decision("costs", costs={"0": {"1": 1.0}, "1": {"0": 7.0}}),
    "threshold": Decision("threshold", metric="f1[1]"),
    "bounded": Decision("threshold", at_least="recall[1] >= 0.7"),
}


@pytest.mark.parametrize(("decision", "classes"), [("argmax", CLASSES), *((name, 2) for name in DECISIONS)])
def test_whole_weights_are_repeated_rows_in_all_that_is_evaluated(decision, classes):
    """Calibration, temperature, prior correction, thresholds, costs and diagrams too."""
    validations, tests = weighed_and_repeated(2, classes), weighed_and_repeated(3, classes)
    # Of each member its own.
    counts = np.random.default_rng(4).uniform(1, 50, (MEMBERS, classes))
    (found, curves), (expected, of_repeated) = (
        evaluate(
            validation,
            test,
            class_counts=counts,
            rarest_class=classes - 1,
            metric="macro_f1",
            decision=DECISIONS[decision],
        )
        for validation, test in zip(validations, tests, strict=True)
    )
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, atol=1e-12, err_msg=name)
    for name, of_members in of_repeated.items():
        for own, other in zip(curves[name], of_members, strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-9, err_msg=name)
    unweighed, _ = evaluate(
        *(Outputs(*part[:2]) for part in (validations[0], tests[0])),
        class_counts=counts,
        rarest_class=classes - 1,
        metric="macro_f1",
        decision=DECISIONS[decision],
    )
    changed = [
        name for name in found if not np.allclose(found[name], unweighed[name], rtol=1e-6, equal_nan=True)
    ]
    assert {each.partition("[")[0].removeprefix("test_") for each in changed} >= {
        name for name, metric in own_metrics().items() if not metric.is_of_objects
    }
    assert "temperature" in changed


def test_the_prior_of_each_member_is_its_own():
    validation, test = (Outputs(*random_case(seed), weights_of(seed)) for seed in (5, 6))
    counts = np.random.default_rng(4).uniform(1, 500, (MEMBERS, CLASSES))
    settings: dict[str, Any] = {"rarest_class": RAREST, "metric": "balanced_accuracy"}
    together, _ = evaluate(validation, test, class_counts=counts, **settings)
    for member in range(MEMBERS):
        own = slice(member, member + 1)
        validated, tested = (
            Outputs(*(each[own] for each in part if each is not None)) for part in (validation, test)
        )
        alone, _ = evaluate(validated, tested, class_counts=counts[member], **settings)
        assert {name: values[member] for name, values in together.items()} == pytest.approx(
            {name: values[0] for name, values in alone.items()}, nan_ok=True
        )


def test_equal_weights_are_none():
    logits, labels = random_case(7)
    weights = np.full(labels.shape, 2.0)
    settings: dict[str, Any] = {"rarest_class": RAREST}
    plain = classification_metrics(logits, labels, **settings)
    for name, values in classification_metrics(logits, labels, weights, **settings).items():
        np.testing.assert_allclose(values, plain[name], rtol=1e-12, err_msg=name)


def test_what_weighs_nothing_is_not_there():
    """Its labels and logits may be anything, the highest scores included."""
    logits, labels = random_case(8)
    weights = weights_of(8)
    nothing = np.arange(CLASSES, EXAMPLES, 3)
    weights[:, nothing] = 0
    other, of_other = logits.copy(), labels.copy()
    other[:, 0, nothing], of_other[:, nothing] = 50, 1
    kept = np.delete(np.arange(EXAMPLES), nothing)
    settings: dict[str, Any] = {"rarest_class": RAREST}
    expected = classification_metrics(logits[:, :, kept], labels[:, kept], weights[:, kept], **settings)
    found = classification_metrics(other, of_other, weights, **settings)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)
    curve = interpolated_precision(other[:, 0], of_other == 0, weights)
    without = interpolated_precision(logits[:, 0, kept], labels[:, kept] == 0, weights[:, kept])
    np.testing.assert_allclose(curve, without, rtol=1e-9)
    probabilities = softmax(other.astype(float), axis=1)
    assert np.nansum(reliability(probabilities, of_other, weights).examples) == pytest.approx(weights.sum())


def test_where_one_class_is_predicted_no_rounding_is_taken_for_a_correlation():
    """Of many classes sums of weights depend on their order, and what is left of a variance is no variance."""
    logits, labels = random_case(10, members=31, classes=11)
    logits[:, 4] += 1000
    weights = weights_of(10, labels.shape)
    found = classification_metrics(logits, labels, weights, rarest_class=10, names=("mcc",))
    assert found["mcc"].tolist() == [0.0] * 31


def test_weights_that_do_not_fit_are_refused():
    logits, labels = random_case(9)
    with pytest.raises(ValueError, match=r"weights \(53,\) do not fit labels \(7, 53\)"):
        classification_metrics(logits, labels, np.ones(EXAMPLES), rarest_class=0)
