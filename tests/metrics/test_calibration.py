"""Temperature and prior correction against SciPy, scikit-learn and what is known of their limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import optimize
from scipy.special import log_softmax
from sklearn import metrics as sklearn_metrics

from lossfleet.conf.metrics import find_metric, own_metrics
from lossfleet.runners.metrics.calibration import expected_calibration_error, fit_temperature, softmax
from lossfleet.runners.metrics.classification import class_numbers, decision_metrics
from lossfleet.runners.metrics.prior_correction import (
    EXPONENTS,
    correct_for_prior,
    fit_exponent,
    is_one_sided,
    middle_of_longest_run,
)

MEMBERS, CLASSES, EXAMPLES = 7, 4, 131
COUNTS = np.array([307, 89, 31, 17])
PRIOR = COUNTS / COUNTS.sum()


def random_case(seed=0, examples=EXAMPLES):
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, size=(MEMBERS, examples), p=PRIOR)
    labels[:, :CLASSES] = np.arange(CLASSES)
    logits = random.normal(size=(MEMBERS, CLASSES, examples))
    logits += 1.5 * (labels[:, None, :] == np.arange(CLASSES)[:, None])
    # Members of very different sharpness.
    logits *= np.geomspace(0.1, 40, MEMBERS)[:, None, None]
    return logits.astype(np.float32), labels.astype(np.int32)


def log_loss(temperature, logits, labels):
    log_probabilities = log_softmax(logits.astype(np.float64) / temperature, axis=0)
    return -log_probabilities[labels, np.arange(len(labels))].mean()


def test_the_temperature_is_that_of_scipy_for_each_member():
    logits, labels = random_case()
    found = fit_temperature(logits, labels)
    for member in range(MEMBERS):
        best = optimize.minimize_scalar(
            lambda log_t, at=member: log_loss(np.exp(log_t), logits[at], labels[at]),
            bounds=(np.log(0.01), np.log(100)),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert found[member] == pytest.approx(np.exp(best.x), rel=1e-5)
    # Sharper logits need a higher temperature, in proportion.
    np.testing.assert_allclose(fit_temperature(3 * logits[:4], labels[:4]), 3 * found[:4], rtol=1e-5)
    assert (np.diff(found) > 0).all()


def test_a_temperature_for_any_number_of_leading_axes():
    logits, labels = random_case()
    flat = fit_temperature(logits, labels)
    grid = fit_temperature(logits[1:].reshape(2, 3, CLASSES, EXAMPLES), labels[1:].reshape(2, 3, EXAMPLES))
    np.testing.assert_array_equal(grid, flat[1:].reshape(2, 3))
    np.testing.assert_array_equal(fit_temperature(logits[2], labels[2]), flat[2])


def test_temperatures_without_a_minimum_stay_in_their_range():
    logits = np.array([[2.0, 1.0], [1.0, 2.0]])
    right, wrong = np.array([0, 1]), np.array([1, 0])
    assert fit_temperature(logits, right) == pytest.approx(0.01)
    assert fit_temperature(logits, wrong) == pytest.approx(100)
    # Logits that say nothing have the same loss at any temperature.
    assert 0.01 <= fit_temperature(np.zeros((2, 2)), right) <= 100


def test_labels_drawn_from_the_probabilities_need_no_temperature():
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, size=(CLASSES, 20_000))
    probabilities = softmax(logits)
    labels = (probabilities.cumsum(axis=0) < random.random(20_000)).sum(axis=0)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    # Three times as sure as they should be, and calibrated again.
    too_sure = 3 * logits
    scaled = softmax(too_sure / fit_temperature(too_sure, labels))
    assert expected_calibration_error(softmax(too_sure), labels) > 0.1
    assert expected_calibration_error(scaled, labels) < 0.02


SCORES = {
    "balanced_accuracy": sklearn_metrics.balanced_accuracy_score,
    "macro_f1": lambda y, p: sklearn_metrics.f1_score(y, p, average="macro"),
    "mcc": sklearn_metrics.matthews_corrcoef,
}


@pytest.mark.parametrize("metric", SCORES)
def test_the_exponent_is_in_the_middle_of_the_best_of_the_grid_for_each_member(metric):
    logits, labels = random_case()
    found = fit_exponent(logits, labels, COUNTS, rarest_class=3, metric=metric)
    for member in range(MEMBERS):
        kappas, scores = np.round(np.linspace(-1, 2, 31), 1), []
        for kappa in kappas:
            decisions = (logits[member].astype(np.float64).T - kappa * np.log(PRIOR)).argmax(axis=1)
            scores.append(SCORES[metric](labels[member], decisions))
        is_best = np.array(scores) > max(scores) - 1e-12
        assert is_best[np.abs(kappas - found[member]).argmin()]
        places = itertools.groupby(range(31), is_best.tolist().__getitem__)
        runs = [kappas[list(run)] for best, run in places if best]
        longest = max(map(len, runs))
        # Of an even number the lower of the two in the middle.
        middles = [run[(len(run) - 1) // 2] for run in runs if len(run) == longest]
        assert abs(found[member]) == pytest.approx(min(map(abs, middles)))
    assert len(np.unique(found)) > 1


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        ([], 0.0),
        (range(31), 0.5),
        ([10], 0.0),
        ([0, 20, 21, 22, 30], 1.1),
        ([8, 9, 11, 12], 0.1),
        ([0, 1, 29, 30], -1.0),
    ],
)
def test_the_middle_of_a_plateau_is_taken(best, expected):
    is_best = np.zeros(31, bool)
    is_best[list(best)] = True
    assert middle_of_longest_run(is_best) == pytest.approx(expected)


def test_a_metric_that_cannot_be_tuned_by_gives_way_to_balanced_accuracy():
    """One without decisions, and one that is best where everything is said to be of the rarest class."""
    logits, labels = random_case()
    expected = fit_exponent(logits, labels, COUNTS, rarest_class=3, metric="balanced_accuracy")
    for metric in (
        "macro_average_precision",
        "rarest_recall",
        "recall[0]",
        "log_loss",
        "average_precision[1]",
    ):
        found = fit_exponent(logits, labels, COUNTS, rarest_class=3, metric=metric)
        np.testing.assert_array_equal(found, expected)
    decided = correct_for_prior(logits, expected, COUNTS).argmax(axis=1)
    assert ((decided == 3).mean(axis=1) < 0.9).all()
    sided = {
        name
        for name in decision_metrics(class_numbers(4))
        if is_one_sided(
            find_metric(name, own_metrics()), class_names=class_numbers(4), rarest_class=3, users=()
        )
    }
    assert sided == {"rarest_recall", *(f"recall[{label}]" for label in range(4))}


def test_true_probabilities_need_the_whole_correction_and_balanced_ones_none():
    random = np.random.default_rng(5)
    examples = 20_000
    labels = random.choice(CLASSES, size=examples, p=PRIOR)
    # Each class a Gaussian around a corner of its own: log-likelihoods are known.
    points = random.normal(size=(CLASSES, examples)) + 1.2 * np.eye(CLASSES)[labels].T
    log_likelihood = 1.2 * points
    posterior = log_likelihood + np.log(PRIOR)[:, None]
    found = [
        fit_exponent(logits, labels, COUNTS, rarest_class=3, metric="balanced_accuracy")
        for logits in (posterior, log_likelihood)
    ]
    assert found == [pytest.approx(1, abs=0.15), pytest.approx(0, abs=0.15)]


def test_no_correction_is_the_plain_argmax():
    logits, _ = random_case()
    np.testing.assert_array_equal(correct_for_prior(logits, np.zeros(MEMBERS), COUNTS), logits)
    assert 0 in EXPONENTS
    # Equal classes have no prior to correct for.
    same = correct_for_prior(logits, np.full(MEMBERS, 1.3), np.full(CLASSES, 11))
    np.testing.assert_array_equal(same.argmax(axis=1), logits.argmax(axis=1))


def test_a_member_without_a_metric_is_not_corrected():
    logits, labels = random_case()
    logits[2, 1, 5] = np.nan
    found = fit_exponent(logits, labels, COUNTS, rarest_class=3, metric="balanced_accuracy")
    assert found[2] == 0
