"""Every layer as a kept model has it: in NumPy, and moved into MindSpore's own, against its definition in float64."""

from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from test_layers import MODELS, features_of, forward, members_of, normal

from lossfleet.runners.models.export import export_members, stock_members
from lossfleet.runners.models.layers import Dropout
from lossfleet.runners.models.shortcuts import without_dropout
from lossfleet.runners.models.weights import KINDS, layer_kinds, layer_weights, layers_of
from lossfleet.runners.portable import layers as portable
from lossfleet.runners.training.native.translation import LAYERS

ROWS = 17


@pytest.mark.parametrize("name", MODELS)
def test_kept_weights_give_the_logits_of_each_member_without_mindspore(name):
    layers = MODELS[name]
    features, members = features_of(layers), members_of(layers)
    examples = normal(ROWS, features, seed=3)
    kinds = json.loads(json.dumps(layer_kinds(layers)))
    weights = layer_weights(layers, members)
    assert {each.dtype for each in weights.values()} == {np.dtype(np.float32)}
    outputs = portable.network(kinds, weights, examples)
    assert outputs.dtype == np.float32
    stock = stock_members(kinds, weights)
    for k, member in enumerate(members):
        expected = forward(layers, member, examples, ())
        np.testing.assert_allclose(outputs[k], expected, rtol=1e-5, atol=1e-5)
        found = stock[k](Tensor(examples)).asnumpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_kept_model_says_of_its_layers_gives_them_again(name):
    layers = MODELS[name]
    weights = layer_weights(layers, members_of(layers))
    found = layers_of(layer_kinds(layers), weights)
    expected = without_dropout(layers)
    # But for how its weights began.
    assert list(map(repr, found)) == [repr(each).replace("glorot", "he") for each in expected]


def test_every_layer_of_the_core_can_be_kept():
    assert {*LAYERS} == {*KINDS, Dropout}
    assert {type(layer) for layers in MODELS.values() for layer in layers} == {*LAYERS}


def test_a_graph_with_shortcuts_takes_any_number_of_rows(tmp_path):
    layers = MODELS["shortcuts"]
    kinds, weights = layer_kinds(layers), layer_weights(layers, members_of(layers)[:1])
    export_members(kinds, weights, tmp_path / "graph.mindir")
    graph = nn.GraphCell(ms.load(str(tmp_path / "graph.mindir")))
    for rows in (ROWS, 3):
        examples = normal(rows, features_of(layers), seed=3)
        expected = portable.network(kinds, weights, examples)[0]
        np.testing.assert_allclose(graph(Tensor(examples)).asnumpy(), expected, rtol=1e-5, atol=1e-5)
