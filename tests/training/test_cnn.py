"""The small convolutional and residual networks: their layers, and what they refuse."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from replicate_runs import config

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import named_part
from lossfleet.runners.models.build import build_layers
from lossfleet.runners.models.cnn import cnn
from lossfleet.runners.models.images import (
    AveragePool,
    Convolution,
    Flatten,
    GlobalAverage,
    GroupNorm,
    Image,
    MaxPool,
)
from lossfleet.runners.models.layers import Dense, Dropout, ReLU, shapes
from lossfleet.runners.models.resnet_tiny import resnet_tiny
from lossfleet.runners.models.shortcuts import Shortcut, check_shortcuts
from lossfleet.runners.training.native.translation import unknown
from lossfleet.runners.training.shape import FleetShape, shape_of

SHAPE, CLASSES = (3, 28, 21), 7


def test_its_layers_are_those_of_the_settings():
    assert cnn(SHAPE, CLASSES) == [
        *(Image(3, 28, 21), Convolution(3, 8), ReLU(), MaxPool(), Convolution(8, 16), ReLU(), MaxPool()),
        *(Flatten(), Dense(16 * 7 * 5, CLASSES, "glorot")),
    ]
    assert cnn(
        SHAPE,
        CLASSES,
        channels=(6,),
        kernel=5,
        halving="stride",
        normalisation="group",
        head="global_average",
        dropout=0.1,
    ) == [
        *(Image(3, 28, 21), Convolution(3, 6, 5, 2), GroupNorm(3, 6), ReLU(), GlobalAverage(), Dropout(0.1)),
        Dense(6, CLASSES, "glorot"),
    ]
    assert AveragePool() in cnn(SHAPE, CLASSES, halving="average_pool")
    assert cnn(SHAPE, CLASSES, channels=()) == [Image(*SHAPE), Flatten(), Dense(1764, CLASSES, "glorot")]


@pytest.mark.parametrize("channels", [(8,), (8, 16), (6, 4, 12)])
@pytest.mark.parametrize("halving", ["max_pool", "average_pool", "stride"])
def test_it_leads_from_any_image_to_the_classes(channels, halving):
    for shape in (SHAPE, (1, 8, 9), (2, 17, 13)):
        layers = cnn(shape, CLASSES, channels=channels, halving=halving, normalisation="group")
        assert shapes(layers, prod(shape))[-1] == (CLASSES,)


def test_a_residual_network_has_the_layers_of_its_settings():
    first, second = (
        [
            *(
                Convolution(n, 8, stride=s),
                GroupNorm(2, 8),
                ReLU(),
                Convolution(8, 8),
                GroupNorm(2, 8),
                Shortcut(5),
                ReLU(),
            )
        ]
        for n, s in ((4, 2), (8, 1))
    )
    assert resnet_tiny(SHAPE, CLASSES, channels=(4, 8), blocks=2)[-16:] == [
        *(*first, *second, GlobalAverage(), Dense(8, CLASSES, "glorot")),
    ]
    assert resnet_tiny(SHAPE, CLASSES, channels=(5,), normalisation="none", dropout=0.1) == [
        *(
            Image(*SHAPE),
            Convolution(3, 5),
            ReLU(),
            Convolution(5, 5),
            ReLU(),
            Convolution(5, 5),
            Shortcut(3),
            ReLU(),
        ),
        *(GlobalAverage(), Dropout(0.1), Dense(5, CLASSES, "glorot")),
    ]


@pytest.mark.parametrize("channels", [(2,), (4, 4, 12)])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1), (2, 17, 1)])
def test_a_residual_network_takes_any_image(shape, channels):
    layers = resnet_tiny(shape, CLASSES, channels=channels, blocks=2)
    *inputs, outputs = shapes(layers, prod(shape))
    check_shortcuts(layers, inputs)
    assert outputs == (CLASSES,)


@pytest.mark.parametrize(
    ("model", "settings", "image_shape", "message"),
    [
        ("cnn", {}, None, "given examples of 1764 features; expected images: .*; choose model=mlp"),
        ("cnn", {"kernel": 4}, SHAPE, r"model\.kernel is 4; expected 3 or 5"),
        (
            "cnn",
            {"channels": (1, 2, 3, 4, 5)},
            SHAPE,
            "28 x 21 5 times; expected at least 32 rows and columns",
        ),
        ("resnet_tiny", {}, None, "model=resnet_tiny is given examples of 1764 features"),
        ("resnet_tiny", {"channels": (16, 8)}, SHAPE, r"is \[16, 8\]; .*; write model\.channels=\[8,16\]"),
        ("resnet_tiny", {"channels": ()}, SHAPE, r"is \[\]; .*; write model\.channels=\[8,16\]"),
    ],
)
def test_what_they_cannot_take_is_refused(model, settings: dict[str, Any], image_shape, message):
    with pytest.raises(UserError, match=message):
        build_layers(named_part("model", model, **settings), prod(SHAPE), CLASSES, image_shape)


@pytest.mark.parametrize("model", ["cnn", "resnet_tiny"])
def test_the_core_knows_them(model):
    shape = shape_of(
        config(model=named_part("model", model)),
        features=prod(SHAPE),
        classes=CLASSES,
        train_rows=11,
        image_shape=SHAPE,
    )
    assert isinstance(shape, FleetShape)
    assert unknown(shape) is None
