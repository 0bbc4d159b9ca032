"""Initial parameters: shapes, bounds, variance, streams."""

from __future__ import annotations

import numpy as np
import pytest

from lossfleet.runners.models.initial import initial_parameters
from lossfleet.runners.models.mlp import mlp

FEATURES, CLASSES = 211, 5
WIDE = (503, 401)


def initial(
    widths: tuple[int, ...], features: int, classes: int, *, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias of the dense layers of a perceptron."""
    parameters = initial_parameters(mlp(features, classes, widths=widths), features, seed=seed)
    return [arrays for arrays in parameters if arrays]


def test_shapes_and_types():
    parameters = initial((13, 7), 11, 3, seed=0)
    assert [weight.shape for weight, _ in parameters] == [(13, 11), (7, 13), (3, 7)]
    assert [bias.shape for _, bias in parameters] == [(13,), (7,), (3,)]
    assert {array.dtype for pair in parameters for array in pair} == {np.dtype(np.float32)}


def test_biases_start_at_zero():
    assert all((bias == 0).all() for _, bias in initial(WIDE, FEATURES, CLASSES, seed=1))


@pytest.mark.parametrize(
    ("layer", "bound"), [(0, (6 / 211) ** 0.5), (1, (6 / 503) ** 0.5), (2, (6 / (401 + 5)) ** 0.5)]
)
def test_weights_are_uniform_up_to_the_bound_of_their_layer(layer, bound):
    weight = initial(WIDE, FEATURES, CLASSES, seed=0)[layer][0].astype(np.float64)
    assert 0.99 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)
    deciles = np.quantile(weight, np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, np.linspace(-0.8, 0.8, 9) * bound, atol=0.06 * bound)


def test_a_logistic_regression_has_only_the_last_layer():
    ((weight, _),) = initial((), FEATURES, CLASSES, seed=0)
    bound = (6 / (FEATURES + CLASSES)) ** 0.5
    assert 0.99 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)


def test_hidden_layers_keep_the_mean_square_through_relu():
    parameters = initial((503, 503, 503), 503, CLASSES, seed=0)
    values = np.random.default_rng(0).normal(size=(307, 503))
    for weight, _ in parameters[:-1]:
        # He's condition: half of E[x^2] = 1 survives a ReLU and the next weight doubles it.
        values = values @ weight.T
        assert 1.6 < (values**2).mean() < 2.4
        values = np.maximum(values, 0)


def test_a_seed_is_one_start_and_another_seed_another():
    first, again, other = (initial(WIDE, FEATURES, CLASSES, seed=seed) for seed in (3, 3, 4))
    for (weight, _), (weight_again, _), (weight_other, _) in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(weight, weight_again)
        assert (weight == weight_other).mean() < 0.01


def test_layers_draw_from_streams_of_their_own():
    first, second, _ = initial((11, 11), 11, 3, seed=0)
    assert (first[0] == second[0]).mean() < 0.01


def test_a_further_layer_leaves_the_hidden_layers_before_it():
    short = initial((13,), 11, 3, seed=0)
    long = initial((13, 7), 11, 3, seed=0)
    np.testing.assert_array_equal(short[0][0], long[0][0])
