"""Second stages: what is done to the head of a model once the rest of it is trained (decoupled training)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval
from mindspore import Tensor

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import named_part
from lossfleet.conf.schema import Config
from lossfleet.runners.data.samplers import index_plan
from lossfleet.runners.images.pixels import Features
from lossfleet.runners.models.images import Image
from lossfleet.runners.models.initial import Parameters, initial_parameters
from lossfleet.runners.models.layers import Dense, Layer, Scale, shapes
from lossfleet.runners.models.stock import StockModel
from lossfleet.runners.models.weights import layer_kinds, layer_weights
from lossfleet.runners.portable import layers as portable
from lossfleet.runners.training.replicate import Replicate, Rows

# A part of the training rows goes through the body at once.
ROWS_AT_ONCE = 8192


class SecondStage:
    """What makes another model of one whose last layer is dense.

    One of yours is a frozen dataclass of a class below; settings that are not compared may differ within a fleet.
    """

    def check(self, layers: Sequence[Layer] | None) -> None:
        """Raises UserError unless the last layer with parameters is dense, which nothing follows."""
        if layers is None or not isinstance(layers[-1], Dense):
            raise UserError(
                what=f"second_stage={type(self).__name__} has no head to work on",
                expected="a model of layers, the last of which is Dense",
                hint="write second_stage=none, or choose model=mlp",
            )


class Rescaling(SecondStage, ABC):
    """One that divides the logits of each class."""

    @abstractmethod
    def divisors(self, head: Parameters) -> np.ndarray:
        """What the logit of each class is divided by, (C,), from weight (C, inputs) and bias (C,) of the head."""

    def joined(self, network: Sequence[Parameters]) -> list[Parameters]:
        """The network that gives the logits."""
        divisors = self.divisors(network[-1]).astype(np.float32)
        weight, bias = network[-1]
        return [*network[:-1], (weight / divisors[:, None], bias / divisors)]


class Retraining(SecondStage, ABC):
    """One that trains a few layers on class-balanced draws, on what the first stage makes of the examples."""

    share: float

    @abstractmethod
    def kept(self, layers: Sequence[Layer]) -> int:
        """How many of the layers make what the second stage is trained on; they stay as they are."""

    @abstractmethod
    def trained(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers that are trained, with new parameters."""

    @abstractmethod
    def joined(self, network: Sequence[Parameters], trained: Sequence[Parameters]) -> list[Parameters]:
        """The network, in the layers of the model, of the first stage's network and what was trained."""

    def inputs(self, layers: Sequence[Layer], features: int) -> int:
        """How many numbers it is trained on for each example, which has so many features."""
        (inputs,) = shapes(layers, features)[self.kept(layers)]
        return inputs

    def first_epochs(self, epochs: int) -> int:
        """The epochs of the first stage; the second has the others."""
        return epochs - second_epochs(self.share, epochs)


@dataclass(frozen=True)
class RetrainedHead(Retraining):
    """cRT: the last layer begins anew, and is trained on draws that have every class equally often.

    share: of the epochs, in (0, 1), that the second stage has; dropout is off there, and the learning rate's schedule
    begins anew.

    Reference: Kang et al. 2020, Decoupling representation and classifier, arXiv 1910.09217.
    """

    share: Annotated[float, Interval(gt=0, lt=1)] = field(default=0.3, compare=False)

    def kept(self, layers: Sequence[Layer]) -> int:
        """All but the last; see Retraining."""
        return len(layers) - 1

    def trained(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The last; see Retraining."""
        return tuple(layers[-1:])

    def joined(self, network: Sequence[Parameters], trained: Sequence[Parameters]) -> list[Parameters]:
        """See Retraining."""
        return [*network[:-1], *trained]


@dataclass(frozen=True)
class LearnedScales(Retraining):
    """LWS: a factor for the logit of each class, trained on draws that have every class equally often.

    share: as of `RetrainedHead`.

    Reference: Kang et al. 2020, Decoupling representation and classifier, arXiv 1910.09217.
    """

    share: Annotated[float, Interval(gt=0, lt=1)] = field(default=0.3, compare=False)

    def kept(self, layers: Sequence[Layer]) -> int:
        """All; see Retraining."""
        return len(layers)

    def trained(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The factors; see Retraining."""
        head = layers[-1]
        assert isinstance(head, Dense)
        return (Scale(head.outputs),)

    def joined(self, network: Sequence[Parameters], trained: Sequence[Parameters]) -> list[Parameters]:
        """See Retraining."""
        (weight, bias), ((factors,),) = network[-1], trained
        return [*network[:-1], (factors[:, None] * weight, factors * bias)]


@dataclass(frozen=True)
class NormalisedHead(Rescaling):
    """tau-normalisation: the weights and the bias of class c are divided by ||w_c||^tau.

    tau: at least 0; 0 leaves the head as it is, 1 makes all weights equally long. Classes with many examples get long
    weights in training. The bias is divided too, so that a class's logit keeps its sign.

    Reference: Kang et al. 2020, Decoupling representation and classifier, arXiv 1910.09217.
    """

    tau: Annotated[float, Ge(0)] = field(default=1.0, compare=False)

    def divisors(self, head: Parameters) -> np.ndarray:
        """See Rescaling."""
        return np.linalg.norm(head[0], axis=1) ** self.tau


def second_epochs(share: float, epochs: int) -> int:
    """The epochs of a second stage with this share of all, at least 1."""
    return max(1, round(share * epochs))


def second_stage_of(config: Config) -> SecondStage | None:
    """The second stage of a configuration, or None.

    Raises:
        UserError: it is none.
    """
    part = config.second_stage
    if part.target is None:
        return None
    stage = part.call()
    if not isinstance(stage, Rescaling | Retraining):
        raise UserError(
            what=f"second_stage={part.name} gives {type(stage).__name__}",
            expected="a Rescaling or a Retraining of lossfleet.runners.training.second_stages",
            hint=f"correct {part.target} ({part.signature.place})",
        )
    return stage


def rescaling_of(replicate: Replicate) -> Rescaling:
    """The second stage of a replicate that has one which divides logits."""
    stage = second_stage_of(replicate.config)
    assert isinstance(stage, Rescaling)
    return stage


def retraining_of(replicate: Replicate) -> Retraining:
    """The second stage of a replicate that has one which trains."""
    stage = second_stage_of(replicate.config)
    assert isinstance(stage, Retraining)
    return stage


def first_replicate(replicate: Replicate, stage: Retraining) -> Replicate:
    """The first stage of a replicate: what it is without a second, in the epochs that are left to it."""
    epochs = stage.first_epochs(replicate.config.budget.epochs)
    return replace(replicate, config=_alone(replicate.config, epochs), plan=replicate.plan[:epochs])


def second_replicate(replicate: Replicate, stage: Retraining, features: Features) -> Replicate:
    """The second stage of a replicate, in the epochs behind the first; its examples are neither mixed nor augmented.

    Args:
        replicate: of both stages.
        stage: its second.
        features: of the training rows, or what the first stage makes of them.
    """
    epochs = replicate.config.budget.epochs
    epochs -= stage.first_epochs(epochs)
    config = replace(
        _alone(replicate.config, epochs),
        sampler=named_part("sampler", "class_balanced"),
        mixing=named_part("mixing", "none"),
        augmentation=named_part("augmentation", "none"),
        defer=0.0,
    )
    assert replicate.layers is not None
    layers, inputs = (
        stage.trained(replicate.layers),
        stage.inputs(replicate.layers, replicate.features.shape[1]),
    )
    split = replicate.split
    weights = None if split.train_weights is None else split.train_weights.astype(np.float32)
    rows = Rows(features, split.train_labels, weights)
    seed, draws = replicate.random_seed, replicate.plan.shape[1]
    return replace(
        replicate,
        config=config,
        rows=rows,
        rows_key=(rows,),
        plan=index_plan(config.sampler, draws, rows.features, rows.labels, seed=seed, epochs=epochs),
        layers=layers,
        initial=tuple(initial_parameters(layers, inputs, seed=seed)),
    )


def outputs(layers: Sequence[Layer], network: Sequence[Parameters], features: Features) -> np.ndarray:
    """What layers with these parameters make of features (N, F), dropout off: (N, any).

    A kept model's NumPy computes them, but for images and layers that it does not know, which stock layers do: these
    take twenty times as long to begin, and a quarter of the time for a convolution.
    """
    starts = range(0, len(features), ROWS_AT_ONCE)
    pieces = (features[start : start + ROWS_AT_ONCE] for start in starts)
    kinds = layer_kinds(layers)
    if kinds is not None and not any(isinstance(layer, Image) for layer in layers):
        weights = layer_weights(layers, [network])
        return np.concatenate([portable.network(kinds, weights, piece)[0] for piece in pieces])
    model = StockModel(layers)
    model.load(network)
    return np.concatenate([model(Tensor(piece)).asnumpy() for piece in pieces])


def _alone(config: Config, epochs: int) -> Config:
    """The configuration of a stage."""
    budget = replace(config.budget, epochs=epochs, rungs=1)
    return replace(config, second_stage=named_part("second_stage", "none"), members=1, budget=budget)
