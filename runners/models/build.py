"""From the part `model` to layers, or to a cell of the user's."""

from __future__ import annotations

import inspect
from functools import lru_cache

from mindspore import nn

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.runners.models.dropout import seed_dropouts
from lossfleet.runners.models.images import Flatten, GlobalAverage
from lossfleet.runners.models.layers import GELU, Dropout, Layer, shapes, told, trained_widths
from lossfleet.runners.models.shortcuts import check_shortcuts

# Their stacked forms need, or make, the row of ones, which logits are without.
NOT_ON_LOGITS = (Dropout, GELU, Flatten, GlobalAverage)


def is_cell(model: Part) -> bool:
    """Whether the model is an nn.Cell of the user's: it trains alone, whereas layers train in a fleet."""
    target = model.load()
    return inspect.isclass(target) and issubclass(target, nn.Cell)


def build_layers(
    model: Part, features: int, classes: int, image_shape: tuple[int, int, int] | None = None
) -> tuple[Layer, ...] | None:
    """The layers of a model, or None where it is a cell.

    Args:
        model: of a configuration.
        features, classes: inputs and outputs.
        image_shape: (channels, height, width) where an example is an image, whose features are in this order.

    Raises:
        UserError: it gives no layers, or they do not lead from the features to the classes.
    """
    return None if is_cell(model) else _checked_layers(model.load(), model, features, classes, image_shape)


@lru_cache(maxsize=256)
def _checked_layers(
    target: object, model: Part, features: int, classes: int, image_shape: tuple[int, int, int] | None
) -> tuple[Layer, ...]:
    """The layers of a model, which most trials of a sweep have in common; target is what the model names now."""
    made = model.call(features=features, input_shape=image_shape or (features,), classes=classes)
    if not isinstance(made, (list, tuple)) or not all(isinstance(each, Layer) for each in made):
        raise _no_model(
            model,
            f"gives {type(made).__name__}",
            "a list of lossfleet.runners.models.layers.Layer, or in _target_ a class of nn.Cell",
        )
    try:
        *inputs, outputs = shapes(made, features)
        check_shortcuts(made, inputs)
    except ValueError as error:
        raise _no_model(model, str(error), "layers that fit each other") from error
    if outputs != (classes,):
        raise _no_model(model, f"gives {told(outputs)}", f"{classes}, one logit a class")
    widths = trained_widths(made, features)
    if not any(widths):
        raise _no_model(model, "has no parameters", "a layer that has, such as Dense")
    behind = made[max(n for n, width in enumerate(widths) if width) :]
    on_logits = [type(layer).__name__ for layer in behind if isinstance(layer, NOT_ON_LOGITS)]
    if on_logits:
        names = ", ".join(each.__name__ for each in NOT_ON_LOGITS)
        expected = f"none of {names} behind the last layer with parameters"
        raise _no_model(model, f"has {on_logits[0]} on its logits", expected)
    return tuple(made)


def build_cell(
    model: Part, features: int, classes: int, image_shape: tuple[int, int, int] | None = None
) -> nn.Cell:
    """A new cell of the user's, with the parameters that its constructor gives it and dropouts that are seeded.

    Raises:
        UserError: its constructor raised an exception.
    """
    cell: nn.Cell = model.call(features=features, input_shape=image_shape or (features,), classes=classes)
    seed_dropouts(cell)
    return cell


def _no_model(model: Part, what: str, expected: str) -> UserError:
    return UserError(
        what=f"the model {model.target} {what}",
        expected=expected,
        hint=f"correct {model.signature.place}, or choose model=mlp",
    )
