"""Class weights against their definitions, scikit-learn's, and each other in the limits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from lossfleet.losses import weights
from lossfleet.losses.weights import (
    NORMALIZATIONS,
    alpha_weights,
    balanced_weights,
    class_counts,
    class_weights,
    effective_number_weights,
    given_weights,
    normalize_weights,
    power_weights,
)

COUNTS = np.array([4913, 329, 28, 88, 115])
any_counts = st.lists(st.integers(1, 10**6), min_size=2, max_size=7).map(np.array)


def test_class_counts():
    np.testing.assert_array_equal(class_counts([3, 0, 3, 1], 5), [1, 1, 0, 2, 0])
    np.testing.assert_array_equal(class_counts(np.zeros(0, np.int64), 2), [0, 0])


def test_power_weights_are_powers_of_the_counts():
    np.testing.assert_allclose(power_weights([1, 4, 16], tau=0.5), [1, 1 / 2, 1 / 4])
    np.testing.assert_allclose(power_weights([1, 4, 16], tau=2), [1, 1 / 16, 1 / 256])
    np.testing.assert_array_equal(power_weights(COUNTS, tau=0), np.ones(5))


def test_effective_number_is_the_sum_of_the_geometric_series():
    """(1 - b^n) / (1 - b) = 1 + b + ... + b^(n-1)."""
    for beta in (0.0, 0.5, 0.9, 0.999):
        series = [np.sum(beta ** np.arange(n)) for n in COUNTS]
        np.testing.assert_allclose(
            effective_number_weights(COUNTS, beta=beta), 1 / np.array(series), rtol=1e-9
        )


def test_effective_number_goes_to_inverse_frequency():
    np.testing.assert_allclose(effective_number_weights(COUNTS, beta=1 - 1e-12), 1 / COUNTS, rtol=1e-6)


def test_the_word_balanced_is_tau_1_and_scikit_learns():
    found = class_weights(COUNTS, class_weight="balanced")
    np.testing.assert_allclose(found, class_weights(COUNTS, tau=1), rtol=1e-12)
    expected = compute_class_weight("balanced", classes=np.arange(5), y=np.repeat(np.arange(5), COUNTS))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_balanced_is_scikit_learns():
    labels = np.repeat(np.arange(5), COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    np.testing.assert_allclose(balanced_weights(class_counts(labels, 5)), expected, rtol=1e-12)
    np.testing.assert_allclose(balanced_weights([2, 4]), [1.5, 0.75])


def test_alpha_weighs_class_1():
    np.testing.assert_array_equal(alpha_weights(0.25), [0.75, 0.25])


@given(counts=any_counts, tau=st.floats(0, 3))
def test_normalisations_hold_what_they_name(counts, tau):
    weights = power_weights(counts, tau=tau)
    scaled = {to: normalize_weights(weights, counts, to=to) for to in NORMALIZATIONS}
    np.testing.assert_allclose(counts @ scaled["mean over examples"], counts.sum(), rtol=1e-9)
    np.testing.assert_allclose(scaled["mean over classes"].mean(), 1, rtol=1e-9)
    np.testing.assert_allclose(scaled["sum over classes"].sum(), 1, rtol=1e-9)
    np.testing.assert_array_equal(scaled["none"], weights)
    for values in scaled.values():
        np.testing.assert_allclose(values / values[0], weights / weights[0], rtol=1e-9)


@given(counts=any_counts)
def test_inverse_frequency_over_examples_is_balanced(counts):
    np.testing.assert_allclose(
        normalize_weights(power_weights(counts, tau=1), counts), balanced_weights(counts), rtol=1e-9
    )


@given(counts=any_counts, scale=st.floats(1e-3, 1e3))
def test_normalised_weights_do_not_see_the_scale(counts, scale):
    weights = power_weights(counts, tau=0.7)
    np.testing.assert_allclose(
        normalize_weights(weights * scale, counts), normalize_weights(weights, counts), rtol=1e-9
    )


WRONG = {
    "tau negative": (lambda: power_weights(COUNTS, tau=-1), ValueError, "tau is -1; expected"),
    "tau nan": (lambda: power_weights(COUNTS, tau=float("nan")), ValueError, "tau is nan; expected"),
    "beta 1": (
        lambda: effective_number_weights(COUNTS, beta=1.0),
        ValueError,
        r"beta is 1.0; expected .* \[0, 1\)",
    ),
    "alpha 1": (lambda: alpha_weights(1.0), ValueError, r"alpha is 1.0; expected .* \(0, 1\)"),
    "empty class": (lambda: balanced_weights([3, 0]), ValueError, r"class_counts is \[3.0, 0.0\]; expected"),
    "no classes": (lambda: power_weights([], tau=1), ValueError, r"class_counts has shape \(0,\); expected"),
    "label": (lambda: class_counts([0, 5], 5), ValueError, "labels contains 5; expected 0 to 4"),
    "label type": (lambda: class_counts([0.5], 2), TypeError, "labels has dtype float64; expected integers"),
    "label axes": (lambda: class_counts([[0]], 2), ValueError, r"labels has shape \(1, 1\); expected"),
    "length": (
        lambda: given_weights([1, 2], classes=3),
        ValueError,
        r"weights has shape \(2,\); expected \(3,\)",
    ),
    "sign": (lambda: normalize_weights([-1, 2], [1, 1]), ValueError, r"weights is \[-1.0, 2.0\]; expected"),
    "all zero": (
        lambda: given_weights([0, 0], classes=2),
        ValueError,
        "weights is .*; expected .* not all 0",
    ),
    "name": (lambda: normalize_weights([1, 2], [1, 1], to="max"), ValueError, "to is 'max'; expected one of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()


def test_weights_are_numpy_alone():
    """Loaded by its path, since the package around it imports MindSpore."""
    code = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("weights", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert "mindspore" not in sys.modules
"""

    subprocess.run([sys.executable, "-c", code, weights.__file__], check=True)
