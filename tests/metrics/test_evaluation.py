"""The final evaluation of a fleet, member by member."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from lossfleet.runners.metrics.calibration import brier_score, expected_calibration_error, fit_temperature
from lossfleet.runners.metrics.classification import (
    Outputs,
    class_numbers,
    classification_metrics,
    decision_metrics,
)
from lossfleet.runners.metrics.evaluation import ROW_DIAGRAMS, evaluate
from lossfleet.runners.metrics.prior_correction import fit_exponent

MEMBERS, CLASSES, EXAMPLES, RAREST = 5, 3, 97, 2
COUNTS = np.array([211, 61, 29])


def random_case(seed=0, sharpness=1.0):
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, size=(MEMBERS, EXAMPLES), p=[0.7, 0.2, 0.1])
    logits = random.normal(size=(MEMBERS, CLASSES, EXAMPLES))
    logits += 2 * (labels[:, None, :] == np.arange(CLASSES)[:, None])
    return (sharpness * logits).astype(np.float32), labels.astype(np.int32)


def evaluated(logits, labels, *, validation=None, rarest_class=RAREST, metric="balanced_accuracy"):
    validation = random_case(1) if validation is None else validation
    classes = {"class_counts": COUNTS, "rarest_class": rarest_class}
    return evaluate(Outputs(*validation), Outputs(logits, labels), metric=metric, **classes)


def test_metrics_and_confusion_counts():
    logits, labels = random_case()
    found, _ = evaluated(logits, labels)
    for name, values in classification_metrics(logits, labels, rarest_class=RAREST).items():
        np.testing.assert_array_equal(found[f"test_{name}"], values)
    for member in range(MEMBERS):
        expected = sklearn_metrics.confusion_matrix(labels[member], logits[member].argmax(axis=0))
        for i in range(CLASSES):
            for j in range(CLASSES):
                assert found[f"test_confusion[{i}][{j}]"][member] == expected[i, j]


def test_precision_at_recall_is_that_of_the_rarest_class():
    logits, labels = random_case()
    _, diagrams = evaluated(logits, labels)
    assert set(diagrams) == set(ROW_DIAGRAMS)
    for member in range(MEMBERS):
        curve = diagrams["test_precision_at_recall"][member]
        assert [step for step, _ in curve] == list(range(101))
        scores = softmax(logits[member].astype(np.float64), axis=0)[RAREST]
        positive = labels[member] == RAREST
        precision, recall, _ = sklearn_metrics.precision_recall_curve(positive, scores)
        half = precision[:-1][recall[:-1] >= 0.5].max()
        assert dict(curve)[50] == pytest.approx(half)
        assert dict(curve)[100] == pytest.approx(precision[recall == 1].max())


def test_reliability_diagram_by_hand():
    # Confidences 0.5, 0.5 (bin 8) and 0.9, 0.9, 0.9 (bin 14); right: no, yes and yes, yes, no.
    confidence = np.array([0.5, 0.5, 0.9, 0.9, 0.9])
    probabilities = np.stack([confidence, (1 - confidence) * 0.6, (1 - confidence) * 0.4])
    logits = np.log(probabilities)[None]
    labels = np.array([[1, 0, 0, 0, 2]])
    _, diagrams = evaluated(logits, labels, validation=(logits, labels), rarest_class=1)
    assert diagrams["test_reliability_count"] == [[(8, 2.0), (14, 3.0)]]
    for name, low, high in (("accuracy", 1 / 2, 2 / 3), ("confidence", 0.5, 0.9)):
        (curve,) = diagrams[f"test_reliability_{name}"]
        assert [step for step, _ in curve] == [8, 14]
        assert [value for _, value in curve] == pytest.approx([low, high])


def test_the_diagram_gives_the_calibration_error_back():
    logits, labels = random_case(sharpness=3.0)
    metrics, diagrams = evaluated(logits, labels)
    for member in range(MEMBERS):
        count, accuracy, confidence = (
            dict(diagrams[f"test_reliability_{name}"][member]) for name in ("count", "accuracy", "confidence")
        )
        assert sum(count.values()) == EXAMPLES
        error = sum(n * abs(accuracy[step] - confidence[step]) for step, n in count.items()) / EXAMPLES
        assert metrics["test_expected_calibration_error"][member] == pytest.approx(error)


def test_what_is_tuned_is_tuned_on_validation_and_measured_on_test():
    test, validation = random_case(), random_case(1, sharpness=4.0)
    for metric in ("balanced_accuracy", "macro_f1", "macro_average_precision"):
        found, _ = evaluated(*test, validation=validation, metric=metric)
        temperature = fit_temperature(*validation)
        kappa = fit_exponent(*validation, COUNTS, rarest_class=RAREST, metric=metric)
        np.testing.assert_array_equal(found["temperature"], temperature)
        np.testing.assert_array_equal(found["prior_exponent"], kappa)
        assert len(np.unique(temperature)) == MEMBERS
        assert len(np.unique(kappa)) > 1
        for member in range(MEMBERS):
            logits, labels = test[0][member].astype(np.float64), test[1][member]
            corrected = (logits.T - kappa[member] * np.log(COUNTS / COUNTS.sum())).T
            values = classification_metrics(corrected, labels, rarest_class=RAREST)
            for name in decision_metrics(class_numbers(CLASSES)):
                assert found[f"test_corrected_{name}"][member] == pytest.approx(values[name])
            probabilities = softmax(logits / temperature[member], axis=0)
            error = expected_calibration_error(probabilities, labels)
            assert found["test_scaled_expected_calibration_error"][member] == pytest.approx(error)
            brier = brier_score(probabilities, labels)
            assert found["test_scaled_brier_score"][member] == pytest.approx(brier)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_diverged_member_is_nan_without_curves_and_leaves_the_others(part):
    logits, labels = random_case()
    validation = random_case(1)
    healthy, curves = evaluated(logits, labels)
    (logits if part == "test" else validation[0])[3, 1, 7] = np.nan
    metrics, diagrams = evaluated(logits, labels, validation=validation)
    others = np.arange(MEMBERS) != 3
    for name, values in metrics.items():
        assert np.isnan(values[3]), name
        np.testing.assert_array_equal(values[others], healthy[name][others])
    for name in ROW_DIAGRAMS:
        assert diagrams[name] == [*curves[name][:3], [], *curves[name][4:]]
