"""A replicate: one training of one configuration on one seed and split, with all the numbers it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.evaluations import RESAMPLED, Evaluation
from lossfleet.conf.parts import named_part
from lossfleet.conf.schema import Config, Data, Part
from lossfleet.losses.weights import class_weights
from lossfleet.runners.cache import ByteBoundedCache
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.data.parts import Shares, is_fixed
from lossfleet.runners.data.samplers import index_plan, makes_rows, weighted_rows
from lossfleet.runners.data.splits import Split, make_split
from lossfleet.runners.detection.dataset import SceneDataset
from lossfleet.runners.detection.splits import make_scene_split
from lossfleet.runners.images.pixels import Features
from lossfleet.runners.streams import Stream, generator

if TYPE_CHECKING:
    from lossfleet.runners.models.layers import Layer

# Of splits, of SMOTE's rows and of plans each, beside those that a replicate in training has.
KEPT_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)
class Rows:
    """Training examples: features (M, F), labels (M,) and weights (M,), None where all count alike."""

    features: Features
    labels: np.ndarray
    weights: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Their memory in bytes."""
        weights = 0 if self.weights is None else self.weights.nbytes
        return self.features.nbytes + self.labels.nbytes + weights


@dataclass(frozen=True, eq=False)
class Replicate:
    """What all engines share: examples, index plan, what the loss is given, layers and initial parameters.

    plan (epochs, n) points into the rows; rows_key names them, so that replicates of the same rows can share
    them; given is what `given_to_loss` gives. A model that is an nn.Cell of the user's, or finds objects, has no
    layers, and makes its initial parameters itself. random_seed is that of all that is drawn in training; a member of
    an ensemble has its own, whereas seed is that of the split.
    """

    config: Config
    seed: int
    split_number: int
    split: Split
    rows: Rows
    rows_key: tuple[object, ...]
    plan: np.ndarray
    given: Mapping[str, np.ndarray]
    layers: tuple[Layer, ...] | None
    initial: tuple[tuple[np.ndarray, ...], ...]
    random_seed: int

    def given_at(self, epoch: int) -> Mapping[str, np.ndarray]:
        """What its loss is given in an epoch, counted from 0: no class weights before `defer` says."""
        if epoch >= deferred_epochs(self.config):
            return self.given
        return {**self.given, "class_weight": np.ones_like(self.given["class_weight"])}

    @property
    def features(self) -> Features:
        """(M, F) float32."""
        return self.rows.features

    @property
    def labels(self) -> np.ndarray:
        """(M,) int32."""
        return self.rows.labels

    @property
    def weights(self) -> np.ndarray | None:
        """(M,) float32, what each example counts for; None where all count alike."""
        return self.rows.weights

    @property
    def classes(self) -> int:
        """C."""
        return len(self.split.class_counts)

    @property
    def steps(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-self.plan.shape[1] // self.config.batch_size)


class ReplicateFactory:
    """Makes the replicates of one data set, and keeps the splits, rows and plans that it made lately."""

    def __init__(self, data: Data, evaluation: Evaluation = RESAMPLED) -> None:
        """Args:
        data: of all replicates.
        evaluation: which rows are put aside for the final ones.
        """
        self.data = data
        self.shares = Shares.of(data, evaluation)
        self.dataset: Dataset = open_dataset(data)
        self._splits: ByteBoundedCache[Split] = ByteBoundedCache(KEPT_BYTES)
        self._rows: ByteBoundedCache[Rows] = ByteBoundedCache(KEPT_BYTES)
        self._plans: ByteBoundedCache[np.ndarray] = ByteBoundedCache(KEPT_BYTES)

    @classmethod
    def of(cls, config: Config) -> ReplicateFactory:
        """The factory of all that a sweep with this configuration trains, or is set beside."""
        return cls(config.data, config.evaluation)

    def split(self, seed: int, number: int) -> Split:
        """The split of a (seed, split) pair."""
        if is_fixed(self.dataset):
            seed = number = 0
        return self._splits.get((seed, number), lambda: self._make_split(seed, number))

    def _make_split(self, seed: int, number: int) -> Split:
        if isinstance(self.dataset, SceneDataset):
            return make_scene_split(self.dataset, self.shares, seed=seed, split=number)
        return make_split(self.dataset, self.shares, seed=seed, split=number, long_tail=self.data.long_tail)

    def replicate(self, config: Config, *, seed: int, split: int) -> Replicate:
        """The replicate of a configuration on a (seed, split) pair."""
        parts = self.split(seed, split)
        key = rows_key(config, seed, split)
        rows = self._rows.get(key, lambda: drawn_rows(config, parts, seed=seed))
        # Trials that differ in loss or optimizer alone have the same plan.
        plan = self._plans.get(
            (config.sampler, config.members, config.budget.epochs, resampled_from(config), seed, split),
            lambda: drawn_plan(config, parts, rows, seed=seed),
        )
        return make_replicate(config, parts, rows, plan, seed=seed, split_number=split, key=key)


def make_replicate(
    config: Config,
    split: Split,
    rows: Rows,
    plan: np.ndarray,
    *,
    seed: int,
    split_number: int,
    key: tuple[object, ...],
) -> Replicate:
    """A replicate of these rows and this index plan, with its layers, initial parameters and what its loss is given.

    Args: as the fields of `Replicate`; key is `rows_key`.
    """
    replicate = Replicate(
        config=config,
        seed=seed,
        split_number=split_number,
        split=split,
        rows=rows,
        rows_key=key,
        plan=plan,
        given={},
        layers=None,
        initial=(),
        random_seed=seed,
    )
    if config.data.has_scenes:
        # A detector and its loss make what else they need of the images.
        return replicate
    # Late: MindSpore takes seconds to import, and splits need none.
    from lossfleet.runners.models.build import build_layers
    from lossfleet.runners.models.initial import initial_parameters

    features = rows.features.shape[1]
    layers = build_layers(config.model, features, len(split.class_counts), split.image_shape)
    return replace(
        replicate,
        given=given_to_loss(config.loss, split.weighted_counts),
        layers=layers,
        initial=() if layers is None else tuple(initial_parameters(layers, features, seed=seed)),
    )


def rows_key(config: Config, seed: int, split: int) -> tuple[object, ...]:
    """What names the training rows of a replicate: its split, and the sampler where it makes rows of its own."""
    if not makes_rows(config.sampler):
        return (seed, split)
    return (seed, split, config.sampler, resampled_from(config) > 0)


def resampled_from(config: Config) -> int:
    """The epoch, counted from 0, from which examples are resampled; before it they are shuffled."""
    return 0 if config.sampler == named_part("sampler", "shuffle") else deferred_epochs(config)


def drawn_rows(config: Config, split: Split, *, seed: int) -> Rows:
    """The rows that index plans point into: of the training part, or made by the sampler, the former first if both."""
    features, labels, weights = weighted_rows(config.sampler, split, seed=seed)
    if makes_rows(config.sampler) and resampled_from(config):
        features = np.concatenate([split.train_features, features])
        labels = np.concatenate([split.train_labels, labels])
        if weights is not None and split.train_weights is not None:
            weights = np.concatenate([split.train_weights.astype(np.float32), weights])
    return Rows(features, labels, weights)


def drawn_plan(config: Config, split: Split, rows: Rows, *, seed: int) -> np.ndarray:
    """The index plan (epochs, draws): shuffled before `resampled_from`, then the sampler's.

    That of an ensemble has those of its members side by side, each with a seed of its own and an equal part of the
    draws, rounded up.
    """
    if config.members > 1:
        part = replace(split, draws=draws_of_member(split.draws, config.members))
        alone = replace(config, members=1)
        seeds = member_seeds(seed, config.members)
        return np.concatenate([drawn_plan(alone, part, rows, seed=each) for each in seeds], axis=1)
    epochs, first = config.budget.epochs, resampled_from(config)
    # Made rows come behind the training part where there are both.
    offset = len(split.train_labels) if makes_rows(config.sampler) and first else 0
    plans = []
    if first:
        shuffle = named_part("sampler", "shuffle")
        plans.append(
            index_plan(
                shuffle, split.draws, split.train_features, split.train_labels, seed=seed, epochs=first
            )
        )
    if first < epochs:
        # A piece of images would be numbers at once.
        features, labels = rows.features[offset:] if offset else rows.features, rows.labels[offset:]
        plan = index_plan(
            config.sampler,
            split.draws,
            features,
            labels,
            seed=seed,
            epochs=epochs - first,
            class_names=split.class_names,
        )
        plans.append(plan + np.int32(offset))
    return np.concatenate(plans)


def draws_of_member(draws: int, members: int) -> int:
    """The draws an epoch of a member of an ensemble: it shares those of one model, so that budgets are equal."""
    return -(-draws // members)


def member_seeds(seed: int, members: int) -> list[int]:
    """The seed of each member of an ensemble."""
    return generator(Stream.MEMBERS, seed).integers(2**31, size=members).tolist()


def given_to_loss(loss: Part, class_counts: np.ndarray) -> dict[str, np.ndarray]:
    """What a loss is given where it names it, each (C,) float32.

    Args:
        loss: its settings `tau`, `alpha`, `beta` and `class_weight` decide the class weights, see
            `losses.weights.class_weights`.
        class_counts: (C,), the training part before any resampling; of weighted examples the sums of their weights.

    Returns:
        `class_weight`, of mean 1 over the training examples, each as often as it weighs; `class_counts`; `class_prior`,
        n_c / n; and (3, C), the rows of its `Adjustment` if it has one, as `adjustment`.
    """
    from lossfleet.runners.training.objective import parameter_names, stacked_form

    weighting = {name: loss[name] for name in loss.class_weights}
    given = {
        "class_weight": class_weights(class_counts, **weighting),
        "class_counts": class_counts,
        "class_prior": class_counts / class_counts.sum(),
    }
    form = stacked_form(loss)
    if form is not None and form.adjustment is not None:
        named = parameter_names(form.adjustment)
        settings = {name: value for name, value in loss.arguments.items() if name in named}
        given["adjustment"] = form.adjustment(class_counts, **settings).rows(len(class_counts))
    return {name: values.astype(np.float32) for name, values in given.items()}


def deferred_epochs(config: Config) -> int:
    """How many epochs are trained before classes are weighted and examples resampled."""
    return round(config.defer * config.budget.epochs)


@dataclass(frozen=True, eq=False)
class Mixture:
    """What the draws of an epoch are mixed with.

    Fields: partners (n,) int32, rows of the training examples; shares (2, n) float32, of the features and of the label
    that a draw keeps, its partner having the rest.
    """

    partners: np.ndarray
    shares: np.ndarray


def mixture(replicate: Replicate, epoch: int) -> Mixture:
    """The partners of an epoch's draws, the same draws in another order, with what `mixing` makes of the two labels."""
    draws = replicate.plan[epoch]
    random = generator(Stream.MIXING, replicate.random_seed, replicate.split_number, epoch)
    partners = random.permutation(draws).astype(np.int32)
    shares = replicate.config.mixing.call(
        labels=replicate.labels[draws],
        partner_labels=replicate.labels[partners],
        class_counts=replicate.split.class_counts,
        random=random,
    )
    return Mixture(partners, np.ascontiguousarray(np.stack(shares), np.float32))


def dropout_masks(replicate: Replicate, epoch: int) -> list[np.ndarray]:
    """The masks (S, width, B) float32 of each dropout in an epoch: 0, or 1 / (1 - rate) where kept.

    They come as data, from the seed and the epoch alone, so that a fleet and a solo run drop the same units.
    """
    from lossfleet.runners.models.layers import dropouts

    assert replicate.layers is not None
    found = dropouts(replicate.layers, replicate.features.shape[1])
    widths = [width for _, width in found]
    random = generator(Stream.DROPOUT, replicate.random_seed, epoch)
    drawn = random.random((replicate.steps, sum(widths), replicate.config.batch_size), np.float32)
    by_layer = np.split(drawn, np.cumsum(widths)[:-1], axis=1)
    return [
        (own >= np.float32(rate)) * np.float32(1 / (1 - rate))
        for own, (rate, _) in zip(by_layer, found, strict=True)
    ]


def seeds_of_dropouts(replicate: Replicate, epoch: int, dropouts: int) -> np.ndarray:
    """The seed of each dropout of a cell at each step of an epoch, (S, dropouts) int32.

    They depend on the replicate's seed and the epoch alone, so that no replicate changes what another one drops.
    """
    random = generator(Stream.DROPOUT, replicate.random_seed, epoch)
    return random.integers(2**31, size=(replicate.steps, dropouts), dtype=np.int32)


def learning_rates(replicate: Replicate) -> np.ndarray:
    """The learning rate of every step of a training, (epochs, S) float64."""
    config = replicate.config
    steps = np.arange(1, config.budget.epochs * replicate.steps + 1)
    factors = config.schedule.call(step=steps, steps=len(steps))
    return (config.optimizer["lr"] * np.asarray(factors, np.float64)).reshape(-1, replicate.steps)
