"""Every part that the config groups and the examples list, in both engines, against its definition in float64.

A name in a group without a row here fails: it would train as something that nobody has looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from image_layers import convolution, image_layer, shortcut, windows
from mindspore import Tensor

from lossfleet.conf.detecting import finds_objects
from lossfleet.conf.parts import Part, named_part, part_names
from lossfleet.runners.data.samplers import index_plan, makes_rows, training_rows
from lossfleet.runners.models.build import build_cell, build_layers
from lossfleet.runners.models.images import GroupNorm
from lossfleet.runners.models.initial import initial_parameters
from lossfleet.runners.models.stacked import StackedModel, flatten_parameters, to_tensor, with_ones
from lossfleet.runners.models.stock import StockModel
from lossfleet.runners.training.check import EXAMPLES as BATCH
from lossfleet.runners.training.check import MEMBERS, Slope
from lossfleet.runners.training.objective import Objective
from lossfleet.runners.training.replicate import given_to_loss
from lossfleet.runners.training.solo import batch_loss

OURS = Path(__file__).parents[2] / "examples" / "mine"
COUNTS = np.array([61, 7, 23])
FEATURES, CLASSES = 11, len(COUNTS)


@pytest.fixture(autouse=True, scope="module")
def _examples_can_be_imported():
    sys.path.append(str(OURS))
    yield
    sys.path.remove(str(OURS))


def names(group: str) -> list[str]:
    """All parts of a group for rows: ours and those of the examples. tests/detection/ has those for objects."""
    ours = [name for name in part_names(group) if not finds_objects(named_part(group, name))]
    return [*ours, *sorted(file.stem for file in (OURS / group).glob("*.yaml"))]


def part(group: str, name: str, **settings: Any) -> Part:
    file = OURS / group / f"{name}.yaml"
    if not file.exists():
        return named_part(group, name, **settings)
    return Part.from_dict(group, {"name": name, **yaml.safe_load(file.read_text())}).replace(**settings)


# ---- losses: of logits (C, B), labels (B,), the class weight of each label and the settings --------------------

Definition = Callable[[np.ndarray, np.ndarray, np.ndarray, Mapping[str, Any]], np.ndarray]
WEIGHTINGS: list[dict[str, Any]] = [{}, {"tau": 0.7}, {"beta": 0.9}, {"class_weight": (1.0, 4.0, 2.0)}]
PRIOR = COUNTS[:, None] / COUNTS.sum()


def of_p(function: Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]) -> Definition:
    """Of the label's probability (B,); smoothed, the mean over the classes with their own weights."""

    def definition(
        logits: np.ndarray, labels: np.ndarray, weight: np.ndarray, settings: Mapping[str, Any]
    ) -> np.ndarray:
        exponentials = np.exp(logits - logits.max(0))
        p, smoothing = exponentials / exponentials.sum(0), settings.get("label_smoothing", 0.0)
        share = np.eye(len(p))[labels].T * (1 - smoothing) + smoothing / len(p)
        return (share * weight[:, None] * function(p, settings)).sum(0)

    return definition


def adjusted(adjust: Callable[[np.ndarray, np.ndarray, Mapping[str, Any]], np.ndarray]) -> Definition:
    """Cross-entropy of what is made of logits (C, B), given one-hot labels (C, B)."""

    def definition(
        logits: np.ndarray, labels: np.ndarray, weight: np.ndarray, settings: Mapping[str, Any]
    ) -> np.ndarray:
        logits = adjust(logits, np.eye(CLASSES)[labels].T, settings)
        return of_p(lambda p, s: -np.log(p))(logits, labels, weight, settings)

    return definition


def asymmetric(
    logits: np.ndarray, labels: np.ndarray, weight: np.ndarray, settings: Mapping[str, Any]
) -> np.ndarray:
    p, is_label = 1 / (1 + np.exp(-logits)), np.eye(CLASSES)[labels].T == 1
    q = np.maximum(p - settings["margin"], 0)
    of_label = -((1 - p) ** settings["gamma_positive"]) * np.log(p)
    of_others = -(q ** settings["gamma_negative"]) * np.log(1 - q)
    return weight[labels] * np.where(is_label, of_label, of_others).sum(0)


def gradient_density(
    logits: np.ndarray, labels: np.ndarray, weight: np.ndarray, settings: Mapping[str, Any]
) -> np.ndarray:
    """With the density of `settings["at"]`, which has no derivative."""
    losses = of_p(lambda p, s: -np.log(p))(logits, labels, np.ones(CLASSES), {})
    length = 1 - np.exp(-of_p(lambda p, s: -np.log(p))(settings["at"], labels, np.ones(CLASSES), {}))
    place = (length * settings["bins"]).astype(int)
    count = np.bincount(place, minlength=settings["bins"])
    return weight[labels] * losses * len(labels) / (count[place] * (count > 0).sum())


LOSSES: dict[str, tuple[Definition, list[dict[str, Any]]]] = {
    "cross_entropy": (of_p(lambda p, s: -np.log(p)), [{}, {"label_smoothing": 0.2}]),
    "weighted_cross_entropy": (of_p(lambda p, s: -np.log(p)), WEIGHTINGS),
    "focal": (
        of_p(lambda p, s: -((1 - p) ** s["gamma"]) * np.log(p)),
        [{"gamma": gamma, **weighting} for gamma in (0.0, 0.5, 3.0) for weighting in WEIGHTINGS[:2]]
        + [{"gamma": 1.5, "tau": 0.7, "label_smoothing": 0.2}],
    ),
    "poly1": (
        of_p(lambda p, s: -((1 - p) ** s["gamma"]) * np.log(p) + s["epsilon"] * (1 - p) ** (s["gamma"] + 1)),
        [
            {"epsilon": 0.0, "gamma": 0.0},
            {"epsilon": 2.5, "gamma": 0.0},
            {"epsilon": -0.5, "gamma": 2.0, "tau": 0.7},
        ],
    ),
    "my_poly1": (
        of_p(lambda p, s: -np.log(p) + s["epsilon"] * (1 - p)),
        [{"epsilon": 0.0}, {"epsilon": 2.5}],
    ),
    "logit_adjusted": (
        adjusted(lambda z, y, s: z + s["tau"] * np.log(PRIOR)),
        [{"tau": 0.0}, {"tau": 1.5, "beta": 0.9}, {"tau": 1.0, "label_smoothing": 0.2}],
    ),
    "balanced_softmax": (adjusted(lambda z, y, s: z + np.log(COUNTS)[:, None]), [{}, {"beta": 0.9}]),
    "ldam": (
        adjusted(lambda z, y, s: s["scale"] * (z - y * s["margin"] * (PRIOR / PRIOR.min()) ** -0.25)),
        [
            {"margin": 0.0, "scale": 1.0},
            {"margin": 0.5, "scale": 1.0},
            {"margin": 0.7, "scale": 3.0, "tau": 0.7},
        ],
    ),
    "vs": (
        adjusted(lambda z, y, s: z * (PRIOR / PRIOR.max()) ** s["gamma"] + s["tau"] * np.log(PRIOR)),
        [{"gamma": 0.0, "tau": 0.0}, {"gamma": 0.3, "tau": 1.2, "beta": 0.9}],
    ),
    "asymmetric": (
        asymmetric,
        [
            {"gamma_positive": 0.0, "gamma_negative": 0.0, "margin": 0.0},
            {"gamma_positive": 1.0, "gamma_negative": 4.0, "margin": 0.05, "tau": 0.7},
        ],
    ),
    "gradient_density": (gradient_density, [{"bins": 1}, {"bins": 4, "tau": 0.7}]),
}


def class_weight(settings: Mapping[str, Any]) -> np.ndarray:
    """Of mean 1 over the training examples."""
    weight = np.ones(CLASSES)
    if settings.get("tau") is not None:
        weight = COUNTS ** -float(settings["tau"])
    elif settings.get("beta") is not None:
        weight = (1 - settings["beta"]) / (1 - settings["beta"] ** COUNTS)
    elif settings.get("class_weight") is not None:
        weight = np.asarray(settings["class_weight"])
    return weight * COUNTS.sum() / (weight @ COUNTS)


def keep_all(losses: np.ndarray, labels: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    return np.ones(len(losses))


def hardest(losses: np.ndarray, labels: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    count = int(np.ceil(settings["keep"] * len(losses) - 1e-6))
    return (np.argsort(np.argsort(-losses)) < count).astype(float)


def hardest_for_each_positive(
    losses: np.ndarray, labels: np.ndarray, settings: Mapping[str, Any]
) -> np.ndarray:
    positive = labels == 1
    count = max(1, int(np.ceil(settings["negatives_per_positive"] * positive.sum() - 1e-6)))
    of_negatives = np.where(positive, -np.inf, losses)
    return positive + (~positive & (np.argsort(np.argsort(-of_negatives)) < count))


Mask = Callable[[np.ndarray, np.ndarray, Mapping[str, Any]], np.ndarray]
MININGS: dict[str, tuple[Mask, list[dict[str, Any]]]] = {
    "none": (keep_all, [{}]),
    "fraction": (hardest, [{"keep": 0.5}, {"keep": 1.0}]),
    "ratio": (hardest_for_each_positive, [{"negatives_per_positive": 1.0}, {"negatives_per_positive": 0.4}]),
}


def objective_of(
    logits: np.ndarray, labels: np.ndarray, loss: str, mining: str, settings: Mapping[str, Any]
) -> float:
    """The mean over the examples that count, in float64, of logits (C, B)."""
    # In these tau is no weight of classes.
    weighting = {**settings, "tau": None} if loss in ("logit_adjusted", "vs") else settings
    losses = LOSSES[loss][0](logits, labels, class_weight(weighting), settings)
    mask = MININGS[mining][0](losses, labels, settings)
    return float((losses * mask).sum() / mask.sum())


def slope_of(logits: np.ndarray, *more: Any) -> np.ndarray:
    """The derivative of the objective by the logits, by central differences."""
    slope = np.zeros(logits.shape)
    for place in np.ndindex(logits.shape):
        step = np.zeros(logits.shape)
        step[place] = 1e-6
        slope[place] = (objective_of(logits + step, *more) - objective_of(logits - step, *more)) / 2e-6
    return slope


# Settings are data: a graph is compiled once for each objective.
slope_in_graph = cache(Slope)


def check_objective(
    loss: Part, mining: Part, definition: tuple[str, str], settings: Mapping[str, Any]
) -> None:
    """Holds solo and fleet each to the definition of two names."""
    random = np.random.default_rng(3)
    logits = (2 * random.normal(size=(MEMBERS, CLASSES, BATCH))).astype(np.float32)
    labels = np.array([[0, 1, 2, 0, 1], [2, 0, 0, 1, 0]], np.int32)
    config = SimpleNamespace(loss=loss, mining=mining)
    given = given_to_loss(loss, COUNTS)
    own = [{**settings, "at": logits[k].astype(float)} for k in range(MEMBERS)]
    expected = [objective_of(logits[k].astype(float), labels[k], *definition, own[k]) for k in range(MEMBERS)]
    slopes = [slope_of(logits[k].astype(float), labels[k], *definition, own[k]) for k in range(MEMBERS)]

    solo = batch_loss(config, given)
    found = [float(solo(Tensor(logits[k].T), Tensor(labels[k])).asnumpy()) for k in range(MEMBERS)]
    np.testing.assert_allclose(found, expected, rtol=2e-5)

    objective = Objective.of(loss, mining, stacked=True)
    packed = objective.packed(loss, mining, given, BATCH)
    numbers, known = (np.repeat(each[:, None], MEMBERS, axis=1) for each in packed)
    weight = given["class_weight"][labels] if objective.times_class_weight else np.ones(labels.shape)
    share = (weight / BATCH).astype(np.float32)
    inputs = map(to_tensor, (logits, labels, numbers, known, share))
    losses, slope = slope_in_graph(objective)(*inputs)
    np.testing.assert_allclose((losses.asnumpy() * share).sum(1), expected, rtol=5e-5)
    np.testing.assert_allclose(slope.asnumpy(), slopes, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", names("loss"))
def test_a_loss_is_its_definition(name):
    assert name in LOSSES, f"loss={name} has no definition here"
    for settings in LOSSES[name][1]:
        check_objective(
            part("loss", name, **settings), named_part("mining", "none"), (name, "none"), settings
        )


@pytest.mark.parametrize("name", names("mining"))
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_a_mining_is_its_definition_beside_any_loss(loss, name):
    assert name in MININGS, f"mining={name} has no definition here"
    of_loss: dict[str, Any] = {"gamma": 1.5, "tau": 0.8} if loss == "focal" else {}
    for settings in MININGS[name][1]:
        check_objective(
            part("loss", loss, **of_loss), part("mining", name, **settings), (loss, name), of_loss | settings
        )


def test_a_loss_that_is_not_wired_is_noticed():
    """Under the name of focal loss, cross-entropy; and focal loss with a gamma of its own."""
    for unwired in (part("loss", "cross_entropy"), part("loss", "focal", gamma=0.0)):
        with pytest.raises(AssertionError):
            check_objective(unwired, named_part("mining", "none"), ("focal", "none"), {"gamma": 3.0})


# ---- models: of examples (B, F) and the parameters of each layer that has some ---------------------------------


def perceptron(slope: float) -> Callable[[np.ndarray, list[tuple[np.ndarray, ...]]], np.ndarray]:
    def forward(examples: np.ndarray, parameters: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        for number, (weight, bias) in enumerate(parameters):
            examples = examples @ weight.T + bias
            if number < len(parameters) - 1:
                examples = np.where(examples > 0, examples, slope * examples)
        return examples

    return forward


def convolutional(examples: np.ndarray, parameters: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    *convolutions, (weight, bias) = parameters
    images = examples.reshape(-1, *IMAGE_SHAPES["cnn"])
    for own in convolutions:
        images = windows(np.maximum(convolution(images, *own, stride=1), 0)).max((4, 5))
    return images.reshape(len(images), -1) @ weight.T + bias


def residual(examples: np.ndarray, parameters: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    *body, (weight, bias) = parameters
    left = iter(body)

    def normalised(images: np.ndarray, stride: int) -> np.ndarray:
        found = convolution(images, *next(left), stride)
        channels = found.shape[1]
        return image_layer(GroupNorm(channels // 4, channels), found, next(left))

    images = np.maximum(normalised(examples.reshape(-1, *IMAGE_SHAPES["resnet_tiny"]), 1), 0)
    for stride in (1, 2, 2):
        change = normalised(np.maximum(normalised(images, stride), 0), 1)
        images = np.maximum(shortcut(change, images), 0)
    return images.mean((2, 3)) @ weight.T + bias


MODELS = {
    "mlp": perceptron(0.0),
    "logistic": perceptron(0.0),
    "leaky": perceptron(0.1),
    "cnn": convolutional,
    "resnet_tiny": residual,
}
# Of models that take images alone.
IMAGE_SHAPES = dict.fromkeys(("cnn", "resnet_tiny"), (2, 7, 5))
# These are cells: MindSpore says what they are, and they are not stacked.
CELLS = {"net"}


@pytest.mark.parametrize("name", names("model"))
def test_a_model_is_its_definition(name):
    model = part("model", name)
    image_shape = IMAGE_SHAPES.get(name)
    features = prod(image_shape) if image_shape else FEATURES
    examples = np.random.default_rng(0).normal(size=(BATCH, features)).astype(np.float32)
    layers = build_layers(model, features, CLASSES, image_shape)
    if name in CELLS:
        assert layers is None
        assert build_cell(model, FEATURES, CLASSES)(Tensor(examples)).shape == (BATCH, CLASSES)
        return
    assert name in MODELS, f"model={name} has no definition here"
    assert layers is not None
    parameters = initial_parameters(layers, features, seed=4)
    trained = [tuple(map(np.float64, each)) for each in parameters if each]
    expected = MODELS[name](examples.astype(float), trained)
    stock = StockModel(layers)
    stock.load(parameters)
    np.testing.assert_allclose(stock(Tensor(examples)).asnumpy(), expected, rtol=1e-4, atol=1e-5)
    buffer = np.tile(flatten_parameters(layers, parameters), (MEMBERS, 1))
    stacked = to_tensor(np.tile(with_ones(examples), (MEMBERS, 1, 1)))
    logits = StackedModel(layers, features, MEMBERS)(to_tensor(buffer), stacked).asnumpy()
    for member in logits:
        np.testing.assert_allclose(member.T, expected, rtol=1e-4, atol=1e-5)


# ---- samplers: the share of each class among many draws --------------------------------------------------------

SAMPLERS: dict[str, np.ndarray] = {
    "shuffle": COUNTS / COUNTS.sum(),
    "oversample": np.full(CLASSES, 1 / CLASSES),
    "undersample": np.full(CLASSES, 1 / CLASSES),
    "class_balanced": np.full(CLASSES, 1 / CLASSES),
    "smote": np.full(CLASSES, 1 / CLASSES),
    "smotenc": np.full(CLASSES, 1 / CLASSES),
    "smote_tomek": np.full(CLASSES, 1 / CLASSES),
    "smote_enn": np.full(CLASSES, 1 / CLASSES),
    # The classes lie apart: most neighbours of every row are of its own class.
    "borderline_smote": COUNTS / COUNTS.sum(),
    "adasyn": COUNTS / COUNTS.sum(),
    "cleaning": COUNTS / COUNTS.sum(),
    "rarest_often": COUNTS * [1, 2, 1] / (COUNTS @ [1, 2, 1]),
}


@pytest.mark.parametrize("name", names("sampler"))
def test_a_sampler_draws_the_classes_as_it_says(name):
    assert name in SAMPLERS, f"sampler={name} has no definition here"
    sampler = part("sampler", name)
    labels = np.repeat(np.arange(CLASSES), COUNTS).astype(np.int32)
    random = np.random.default_rng(0)
    split = SimpleNamespace(
        train_features=(random.normal(size=(len(labels), 2)) + 100 * labels[:, None]).astype(np.float32),
        train_labels=labels,
        categories=None,
        class_names=(),
        class_counts=COUNTS,
        rarest_class=int(COUNTS.argmin()),
    )
    features, made = training_rows(sampler, split, seed=0)
    assert (made is not labels) == makes_rows(sampler)
    plan = index_plan(sampler, len(labels), features, made, seed=0, epochs=200)
    assert plan.shape == (200, len(labels))
    share = np.bincount(made[plan].ravel(), minlength=CLASSES) / plan.size
    np.testing.assert_allclose(share, SAMPLERS[name], atol=0.01)
