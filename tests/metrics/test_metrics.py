"""Metrics against scikit-learn and imbalanced-learn, member by member."""

from __future__ import annotations

import numpy as np
import pytest
from imblearn.metrics import geometric_mean_score
from scipy.special import softmax as scipy_softmax
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from lossfleet.runners.metrics import calibration, ranking
from lossfleet.runners.metrics import classification as metrics

MEMBERS, CLASSES, EXAMPLES = 7, 5, 53


def random_case(seed=0, members=MEMBERS, classes=CLASSES, examples=EXAMPLES):
    """Imbalanced labels with every class present, logits that know a little about them."""
    random = np.random.default_rng(seed)
    share = 0.5 ** np.arange(classes)
    labels = random.choice(classes, size=(members, examples), p=share / share.sum())
    labels[:, :classes] = np.arange(classes)
    logits = random.normal(size=(members, classes, examples)).astype(np.float32)
    logits += 1.5 * (labels[:, None, :] == np.arange(classes)[:, None])
    return logits, labels.astype(np.int32)


def ties():
    logits, labels = random_case(1)
    return np.round(logits), labels


def one_score():
    logits, labels = random_case(2)
    return np.zeros_like(logits), labels


def one_class_predicted():
    logits, labels = random_case(3)
    logits[:, 3] += 1000
    return logits, labels


def perfect():
    logits, labels = random_case(4)
    logits += 100 * (labels[:, None, :] == np.arange(CLASSES)[:, None])
    return logits, labels


def class_without_labels():
    logits, labels = random_case(5)
    return logits, np.where(labels == 2, 0, labels)


def class_nowhere():
    logits, labels = class_without_labels()
    logits[:, 2] = -50
    return logits, labels


def one_class_only():
    logits, labels = random_case(6)
    return logits, np.full_like(labels, 1)


def all_wrong():
    logits, labels = random_case(8)
    logits -= 100 * (labels[:, None, :] == np.arange(CLASSES)[:, None])
    return logits, labels


CASES = {
    "random": random_case,
    "two_classes": lambda: random_case(7, classes=2),
    "one_example": lambda: tuple(part[..., -1:] for part in random_case(9)),
    "ties": ties,
    "one_score": one_score,
    "one_class_predicted": one_class_predicted,
    "perfect": perfect,
    "all_wrong": all_wrong,
    "class_without_labels": class_without_labels,
    "class_nowhere": class_nowhere,
    "one_class_only": one_class_only,
}
RAREST = 1


def average_precision(probabilities, labels):
    return np.mean(
        [sklearn_metrics.average_precision_score(labels == c, probabilities[c]) for c in np.unique(labels)]
    )


def geometric_mean(predictions, labels):
    """imbalanced-learn counts a class that is only predicted as recall 0; we leave it out."""
    right = np.where(np.isin(predictions, labels), predictions, -1)
    present = np.unique(labels)
    return geometric_mean_score(labels, right, labels=present)


def brier(probabilities, labels):
    truth = np.eye(len(probabilities))[labels]
    return np.mean(((probabilities.T - truth) ** 2).sum(axis=1))


def calibration_error(probabilities, labels):
    confidence, prediction = probabilities.max(axis=0), probabilities.argmax(axis=0)
    error = 0.0
    for lower in range(15):
        inside = (confidence > lower / 15) & (confidence <= (lower + 1) / 15)
        if inside.any():
            accuracy = (prediction == labels)[inside].mean()
            error += inside.mean() * abs(accuracy - confidence[inside].mean())
    return error


def of_decisions(score, c, **settings):
    """A score of scikit-learn's of class c alone."""
    return lambda labels, predictions, _: score(labels, predictions, labels=[c], average="macro", **settings)


def of_ranking(score, c):
    """A function of who is of class c and of its probability, NaN where nobody is."""
    return lambda labels, _, probabilities: (
        score(labels == c, probabilities[c]) if (labels == c).any() else np.nan
    )


def best_recall(positive, scores):
    precision, recall, _ = sklearn_metrics.precision_recall_curve(positive, scores)
    return recall[precision >= 0.9].max()


def best_precision(positive, scores):
    precision, recall, _ = sklearn_metrics.precision_recall_curve(positive, scores)
    return precision[recall >= 0.9].max()


def class_calibration_error(c):
    def error(labels, _, probabilities):
        share, mean = calibration_curve(labels == c, probabilities[c], n_bins=15)
        # The bins of scikit-learn, which hold their upper edge.
        bins = np.searchsorted(np.linspace(0, 1, 16)[1:-1], probabilities[c])
        weights = np.bincount(bins, minlength=15)
        return np.abs(share - mean) @ weights[weights > 0] / weights.sum()

    return error


def roc_auc(probabilities, labels):
    """The mean over the classes against the rest, of two classes that of the second."""
    classes = [1] if len(probabilities) == 2 else range(len(probabilities))
    areas = [
        sklearn_metrics.roc_auc_score(labels == c, probabilities[c])
        for c in classes
        if 0 < (labels == c).sum() < len(labels)
    ]
    return np.mean(areas) if areas else np.nan


# What one member's metric is: a function of labels (N,), predictions (N,) and float64 probabilities (C, N).
ORACLES = {
    "balanced_accuracy": lambda y, p, _: sklearn_metrics.balanced_accuracy_score(y, p),
    "macro_f1": lambda y, p, _: sklearn_metrics.f1_score(y, p, average="macro", zero_division=0),
    "macro_average_precision": lambda y, _, q: average_precision(q, y),
    "rarest_recall": of_decisions(sklearn_metrics.recall_score, RAREST, zero_division=np.nan),
    "accuracy": lambda y, p, _: sklearn_metrics.accuracy_score(y, p),
    "mcc": lambda y, p, _: sklearn_metrics.matthews_corrcoef(y, p),
    "g_mean": lambda y, p, _: geometric_mean(p, y),
    "expected_calibration_error": lambda y, _, q: calibration_error(q, y),
    "classwise_calibration_error": lambda y, p, q: np.mean(
        [class_calibration_error(c)(y, p, q) for c in range(len(q))]
    ),
    "brier_score": lambda y, _, q: brier(q, y),
    "log_loss": lambda y, _, q: sklearn_metrics.log_loss(y, q.T, labels=range(len(q))),
    "roc_auc": lambda y, _, q: roc_auc(q, y),
}
for c in range(CLASSES):
    ORACLES |= {
        f"recall[{c}]": of_decisions(sklearn_metrics.recall_score, c, zero_division=np.nan),
        f"precision[{c}]": of_decisions(sklearn_metrics.precision_score, c, zero_division=0),
        f"f1[{c}]": of_decisions(sklearn_metrics.f1_score, c, zero_division=np.nan),
        f"f_beta[{c}]": of_decisions(sklearn_metrics.fbeta_score, c, beta=2, zero_division=np.nan),
        f"average_precision[{c}]": of_ranking(sklearn_metrics.average_precision_score, c),
        f"recall_at_precision[{c}]": of_ranking(best_recall, c),
        f"precision_at_recall[{c}]": of_ranking(best_precision, c),
        f"calibration_error[{c}]": class_calibration_error(c),
    }


def test_every_metric_has_an_oracle():
    assert set(metrics.metric_names(metrics.class_numbers(CLASSES))) == set(ORACLES)


# scikit-learn warns of what the degenerate cases are about.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_each_metric_is_that_of_sklearn_for_each_member(case):
    logits, labels = CASES[case]()
    values = metrics.classification_metrics(logits, labels, rarest_class=RAREST)
    assert list(values) == list(metrics.metric_names(metrics.class_numbers(logits.shape[1])))
    probabilities = scipy_softmax(logits.astype(np.float64), axis=1)
    for name, value in values.items():
        expected = [
            ORACLES[name](labels[k], logits[k].argmax(axis=0), probabilities[k]) for k in range(MEMBERS)
        ]
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-12, err_msg=name)


def test_members_differ_in_the_random_case():
    values = metrics.classification_metrics(*random_case(), rarest_class=4)
    for name, value in values.items():
        assert len(np.unique(value)) > 2, name


def test_leading_axes_of_any_number():
    logits, labels = random_case(members=6)
    flat = metrics.classification_metrics(logits, labels, rarest_class=4)
    grid = metrics.classification_metrics(
        logits.reshape(2, 3, CLASSES, EXAMPLES), labels.reshape(2, 3, EXAMPLES), rarest_class=4
    )
    single = metrics.classification_metrics(logits[4], labels[4], rarest_class=4)
    for name in flat:
        np.testing.assert_array_equal(grid[name], flat[name].reshape(2, 3))
        assert single[name].shape == ()
        assert single[name] == flat[name][4]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_member_is_nan_and_leaves_the_others(bad):
    logits, labels = random_case()
    healthy = metrics.classification_metrics(logits, labels, rarest_class=0)
    logits[3, 2, 11] = bad
    values = metrics.classification_metrics(logits, labels, rarest_class=0)
    others = np.arange(MEMBERS) != 3
    for name, value in values.items():
        assert np.isnan(value[3]), name
        np.testing.assert_array_equal(value[others], healthy[name][others])


def test_names_choose_what_is_computed(monkeypatch):
    logits, labels = random_case()
    everything = metrics.classification_metrics(logits, labels, rarest_class=2)
    monkeypatch.setattr(metrics, "softmax", None)
    names = metrics.decision_metrics(metrics.class_numbers(CLASSES))
    cheap = metrics.classification_metrics(logits, labels, rarest_class=2, names=names)
    assert tuple(cheap) == names
    for name in names:
        np.testing.assert_array_equal(cheap[name], everything[name])


def test_average_precision_groups_equal_scores():
    scores = np.array([[0.9, 0.5, 0.5, 0.5, 0.1]])
    for order in ([0, 1, 2, 3, 4], [4, 3, 1, 2, 0], [2, 3, 1, 0, 4]):
        value = ranking.average_precision(ranking.rank(scores[:, order], np.array([0, 1, 0, 1, 0])[order]))
        # Thresholds 0.9, 0.5, 0.1: recall 1/3, 2/3, 1 at precision 1, 2/4, 3/5.
        np.testing.assert_allclose(value, [(1 + 2 / 4 + 3 / 5) / 3])


def test_average_precision_of_a_class_without_labels_is_nan():
    value = ranking.average_precision(ranking.rank(np.eye(3), np.array([0, 1, 1])))
    assert np.isnan(value).tolist() == [False, False, True]


@pytest.mark.parametrize("case", CASES)
def test_precision_at_recall_is_the_envelope_of_the_curve_of_sklearn(case):
    logits, labels = CASES[case]()
    scores = logits[:, RAREST].astype(np.float64)
    found = ranking.interpolated_precision(scores, labels == RAREST)
    assert found.shape == (MEMBERS, 101)
    for member in range(MEMBERS):
        positive = labels[member] == RAREST
        if not positive.any():
            assert np.isnan(found[member]).all()
            continue
        precision, recall, _ = sklearn_metrics.precision_recall_curve(positive, scores[member])
        # The last point is no threshold's. Recalls in floats stand for whole numbers of hits.
        precision, hits = precision[:-1], np.rint(recall[:-1] * positive.sum())
        expected = [precision[100 * hits >= level * positive.sum()].max() for level in range(101)]
        np.testing.assert_allclose(found[member], expected, rtol=1e-12)


def test_confusion_matrix_is_that_of_sklearn():
    logits, labels = random_case()
    predictions = logits.argmax(axis=1)
    counts = metrics.confusion_matrix(predictions, labels, CLASSES)
    for member in range(MEMBERS):
        expected = sklearn_metrics.confusion_matrix(
            labels[member], predictions[member], labels=range(CLASSES)
        )
        np.testing.assert_array_equal(counts[member], expected)
    np.testing.assert_array_equal(metrics.confusion_matrix(predictions[2], labels[2], CLASSES), counts[2])


@pytest.mark.parametrize("wrong", [-1, CLASSES])
def test_labels_outside_the_classes_are_refused(wrong):
    logits, labels = random_case()
    labels[2, 3] = wrong
    with pytest.raises(ValueError, match=r"labels range .* expected 0..4"):
        metrics.classification_metrics(logits, labels, rarest_class=0)


def test_arguments_that_do_not_fit_are_refused():
    logits, labels = random_case()
    with pytest.raises(ValueError, match="do not fit"):
        metrics.classification_metrics(logits, labels[:, :-1], rarest_class=0)
    with pytest.raises(ValueError, match=r"rarest_class is 5; expected 0..4"):
        metrics.classification_metrics(logits, labels, rarest_class=5)
    with pytest.raises(ValueError, match="unknown metrics"):
        metrics.classification_metrics(logits, labels, rarest_class=0, names=["recall[5]"])


def test_softmax_of_large_logits():
    logits = np.array([[1000.0, -1000.0], [999.0, 0.0]], np.float32)
    expected = [[1 / (1 + np.exp(-1)), 0.0], [1 / (1 + np.exp(1)), 1.0]]
    np.testing.assert_allclose(calibration.softmax(logits), expected, rtol=1e-12)


def test_brier_score_of_two_classes_is_twice_that_of_sklearn():
    logits, labels = random_case(7, classes=2)
    probabilities = calibration.softmax(logits)
    expected = [2 * sklearn_metrics.brier_score_loss(labels[k], probabilities[k, 1]) for k in range(MEMBERS)]
    np.testing.assert_allclose(calibration.brier_score(probabilities, labels), expected)


def test_calibration_of_limits():
    certain = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert calibration.expected_calibration_error(certain, np.array([0, 0, 1])) == 0
    assert calibration.expected_calibration_error(certain, np.array([1, 1, 0])) == 1
    # Two of three right where every confidence is 2/3: on the edge of a bin, and calibrated.
    shared = np.array([[2 / 3] * 3, [1 / 3] * 3])
    np.testing.assert_allclose(
        calibration.expected_calibration_error(shared, np.array([0, 1, 0])), 0, atol=1e-15
    )


def test_inputs_are_left_as_they_were():
    logits, labels = random_case()
    logits[0, 0, 0] = np.nan
    logits.flags.writeable = labels.flags.writeable = False
    metrics.classification_metrics(logits, labels, rarest_class=0)
