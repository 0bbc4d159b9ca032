"""The final evaluation of a fleet, member by member."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from runners.evaluation import DIAGRAMS, evaluate
from runners.metrics import classification_metrics

MEMBERS, CLASSES, EXAMPLES, RAREST = 5, 3, 97, 2


def random_case(seed=0, sharpness=1.0):
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, size=(MEMBERS, EXAMPLES), p=[0.7, 0.2, 0.1])
    logits = random.normal(size=(MEMBERS, CLASSES, EXAMPLES))
    logits += 2 * (labels[:, None, :] == np.arange(CLASSES)[:, None])
    return (sharpness * logits).astype(np.float32), labels.astype(np.int32)


def test_metrics_and_confusion_counts():
    logits, labels = random_case()
    found, _ = evaluate(logits, labels, rarest_class=RAREST)
    for name, values in classification_metrics(logits, labels, rarest_class=RAREST).items():
        np.testing.assert_array_equal(found[f"test_{name}"], values)
    for member in range(MEMBERS):
        expected = sklearn_metrics.confusion_matrix(labels[member], logits[member].argmax(axis=0))
        for i in range(CLASSES):
            for j in range(CLASSES):
                assert found[f"test_confusion_{i}_{j}"][member] == expected[i, j]


def test_precision_at_recall_is_that_of_the_rarest_class():
    logits, labels = random_case()
    _, diagrams = evaluate(logits, labels, rarest_class=RAREST)
    assert set(diagrams) == set(DIAGRAMS)
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
    _, diagrams = evaluate(logits, labels, rarest_class=1)
    assert diagrams["test_reliability_count"] == [[(8, 2.0), (14, 3.0)]]
    for name, low, high in (("accuracy", 1 / 2, 2 / 3), ("confidence", 0.5, 0.9)):
        (curve,) = diagrams[f"test_reliability_{name}"]
        assert [step for step, _ in curve] == [8, 14]
        assert [value for _, value in curve] == pytest.approx([low, high])


def test_the_diagram_gives_the_calibration_error_back():
    logits, labels = random_case(sharpness=3.0)
    metrics, diagrams = evaluate(logits, labels, rarest_class=RAREST)
    for member in range(MEMBERS):
        count, accuracy, confidence = (
            dict(diagrams[f"test_reliability_{name}"][member]) for name in ("count", "accuracy", "confidence")
        )
        assert sum(count.values()) == EXAMPLES
        error = sum(n * abs(accuracy[step] - confidence[step]) for step, n in count.items()) / EXAMPLES
        assert metrics["test_expected_calibration_error"][member] == pytest.approx(error)


def test_a_diverged_member_is_nan_without_curves_and_leaves_the_others():
    logits, labels = random_case()
    healthy, curves = evaluate(logits, labels, rarest_class=RAREST)
    logits[3, 1, 7] = np.nan
    metrics, diagrams = evaluate(logits, labels, rarest_class=RAREST)
    others = np.arange(MEMBERS) != 3
    for name, values in metrics.items():
        assert np.isnan(values[3]), name
        np.testing.assert_array_equal(values[others], healthy[name][others])
    for name in DIAGRAMS:
        assert diagrams[name] == [*curves[name][:3], [], *curves[name][4:]]
