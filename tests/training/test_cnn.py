"""The small convolutional network: its layers, and what it refuses."""

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


@pytest.mark.parametrize(
    ("settings", "image_shape", "message"),
    [
        ({}, None, "given examples of 1764 features; expected images: .*; choose model=mlp"),
        ({"kernel": 4}, SHAPE, r"model\.kernel is 4; expected 3 or 5"),
        ({"channels": (1, 2, 3, 4, 5)}, SHAPE, "28 x 21 5 times; expected at least 32 rows and columns"),
    ],
)
def test_what_it_cannot_take_is_refused(settings: dict[str, Any], image_shape, message):
    with pytest.raises(UserError, match=message):
        build_layers(named_part("model", "cnn", **settings), prod(SHAPE), CLASSES, image_shape)


def test_the_core_knows_it():
    shape = shape_of(
        config(model=named_part("model", "cnn")),
        features=prod(SHAPE),
        classes=CLASSES,
        train_rows=11,
        image_shape=SHAPE,
    )
    assert isinstance(shape, FleetShape)
    assert unknown(shape) is None
