"""Initial parameters: shapes, bounds, variance, streams."""

from __future__ import annotations

import numpy as np
import pytest

from lossfleet.runners.models.initial import Parameters, initial_parameters
from lossfleet.runners.models.layers import Dense, ReLU
from lossfleet.runners.models.mlp import mlp

FEATURES, CLASSES = 211, 5


def initial(
    *widths: int, features: int = 11, classes: int = 3, seed: int = 0, dropout: float = 0.0
) -> list[Parameters]:
    """Weight and bias of each dense layer of a multilayer perceptron."""
    layers = mlp(features, classes, widths=widths, dropout=dropout)
    return [each for each in initial_parameters(layers, features, seed=seed) if each]


def wide(seed: int) -> list[Parameters]:
    return initial(503, 401, features=FEATURES, classes=CLASSES, seed=seed)


def test_shapes_and_types():
    parameters = initial(13, 7)
    assert [weight.shape for weight, _ in parameters] == [(13, 11), (7, 13), (3, 7)]
    assert [bias.shape for _, bias in parameters] == [(13,), (7,), (3,)]
    assert {array.dtype for pair in parameters for array in pair} == {np.dtype(np.float32)}


def test_biases_start_at_zero():
    assert all((bias == 0).all() for _, bias in wide(seed=1))


@pytest.mark.parametrize(
    ("layer", "bound"), [(0, (6 / 211) ** 0.5), (1, (6 / 503) ** 0.5), (2, (6 / (401 + 5)) ** 0.5)]
)
def test_weights_are_uniform_up_to_the_bound_of_their_layer(layer, bound):
    weight = wide(seed=0)[layer][0].astype(np.float64)
    assert 0.99 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)
    deciles = np.quantile(weight, np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, np.linspace(-0.8, 0.8, 9) * bound, atol=0.06 * bound)


def test_a_logistic_regression_has_only_the_last_layer():
    ((weight, _),) = initial(features=FEATURES, classes=CLASSES)
    bound = (6 / (FEATURES + CLASSES)) ** 0.5
    assert 0.99 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)


def test_hidden_layers_keep_the_mean_square_through_relu():
    parameters = initial(503, 503, 503, features=503, classes=CLASSES)
    values = np.random.default_rng(0).normal(size=(307, 503))
    for weight, _ in parameters[:-1]:
        # He's condition: half of E[x^2] = 1 survives a ReLU and the next weight doubles it.
        values = values @ weight.T
        assert 1.6 < (values**2).mean() < 2.4
        values = np.maximum(values, 0)


def test_a_seed_is_one_start_and_another_seed_another():
    first, again, other = (wide(seed=seed) for seed in (3, 3, 4))
    for (weight, _), (weight_again, _), (weight_other, _) in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(weight, weight_again)
        assert (weight == weight_other).mean() < 0.01


def test_layers_draw_from_streams_of_their_own():
    first, second, _ = initial(11, 11)
    assert (first[0] == second[0]).mean() < 0.01


def test_a_further_layer_leaves_the_hidden_layers_before_it():
    np.testing.assert_array_equal(initial(13)[0][0], initial(13, 7)[0][0])


def test_layers_without_parameters_leave_the_others_as_they_are():
    for plain, dropped in zip(initial(13, 7), initial(13, 7, dropout=0.5), strict=True):
        np.testing.assert_array_equal(plain[0], dropped[0])


def test_each_layer_has_its_parameters_at_its_own_place():
    parameters = initial_parameters([ReLU(), Dense(11, 13), ReLU(), Dense(13, 3, "glorot")], 11, seed=0)
    assert [len(arrays) for arrays in parameters] == [0, 2, 0, 2]


def test_the_numbers_are_those_that_were_published():
    """So that trials of one version can be compared with those of the next."""
    (weight, _), _ = initial(13, seed=3)
    expected = np.float32([0.41763362288475037, -0.5403454303741455, 0.6263576745986938])
    np.testing.assert_array_equal(weight[0, :3], expected)
