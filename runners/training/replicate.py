"""A replicate: one training of one configuration on one seed and split, with all the numbers it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lossfleet.conf.evaluations import RESAMPLED, Evaluation
from lossfleet.conf.schema import Config, Data, Part
from lossfleet.losses.weights import class_weights
from lossfleet.runners.cache import ByteBoundedCache
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.data.parts import Shares, is_fixed
from lossfleet.runners.data.samplers import index_plan, makes_rows, training_rows
from lossfleet.runners.data.splits import Split, make_split
from lossfleet.runners.streams import Stream, generator

if TYPE_CHECKING:
    from lossfleet.runners.models.layers import Layer

# Of splits, of SMOTE's rows and of plans each, beside those that a replicate in training has.
KEPT_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)
class Rows:
    """Training examples: features (M, F) and labels (M,)."""

    features: np.ndarray
    labels: np.ndarray

    @property
    def nbytes(self) -> int:
        """Their memory in bytes."""
        return self.features.nbytes + self.labels.nbytes


@dataclass(frozen=True, eq=False)
class Replicate:
    """What all engines share: examples, index plan, what the loss is given, layers and initial parameters.

    plan (epochs, n) points into the rows; rows_key names them, so that replicates of the same rows can share
    them; given has `class_weight`, `class_counts` and `class_prior`, each (C,) float32. A model that is an nn.Cell of
    the user's has no layers, and makes its initial parameters itself.
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

    @property
    def features(self) -> np.ndarray:
        """(M, F) float32."""
        return self.rows.features

    @property
    def labels(self) -> np.ndarray:
        """(M,) int32."""
        return self.rows.labels

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
        return self._splits.get(
            (seed, number),
            lambda: make_split(
                self.dataset, self.shares, seed=seed, split=number, long_tail=self.data.long_tail
            ),
        )

    def replicate(self, config: Config, *, seed: int, split: int) -> Replicate:
        """The replicate of a configuration on a (seed, split) pair."""
        parts = self.split(seed, split)
        key = rows_key(config.sampler, seed, split)
        rows = self._rows.get(key, lambda: Rows(*training_rows(config.sampler, parts, seed=seed)))
        plan = self._plan(config, parts.draws, rows.labels, seed, split)
        return make_replicate(config, parts, rows, plan, seed=seed, split_number=split, key=key)

    def _plan(self, config: Config, draws: int, labels: np.ndarray, seed: int, split: int) -> np.ndarray:
        """The index plan; trials that differ in loss or optimizer alone have the same one."""
        return self._plans.get(
            (config.sampler, config.budget.epochs, seed, split),
            lambda: index_plan(config.sampler, draws, labels, seed=seed, epochs=config.budget.epochs),
        )


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
    # Late: MindSpore takes seconds to import, and splits need none.
    from lossfleet.runners.models.build import build_layers
    from lossfleet.runners.models.initial import initial_parameters

    features = rows.features.shape[1]
    layers = build_layers(config.model, features, len(split.class_counts), split.image_shape)
    return Replicate(
        config=config,
        seed=seed,
        split_number=split_number,
        split=split,
        rows=rows,
        rows_key=key,
        plan=plan,
        given=given_to_loss(config.loss, split.class_counts),
        layers=layers,
        initial=() if layers is None else tuple(initial_parameters(layers, features, seed=seed)),
    )


def rows_key(sampler: Part, seed: int, split: int) -> tuple[object, ...]:
    """What names the training rows of a replicate: its split, and the sampler where it makes rows of its own."""
    return (seed, split, sampler) if makes_rows(sampler) else (seed, split)


def given_to_loss(loss: Part, class_counts: np.ndarray) -> dict[str, np.ndarray]:
    """What a loss is given where it names it, each (C,) float32.

    Args:
        loss: its settings `tau`, `alpha`, `beta` and `class_weight` decide the class weights, see
            `losses.weights.class_weights`.
        class_counts: (C,) int, the training part before any resampling.

    Returns:
        `class_weight`, of mean 1 over the training examples; `class_counts`; `class_prior`, n_c / n.
    """
    weighting = {name: loss[name] for name in loss.class_weights}
    given = {
        "class_weight": class_weights(class_counts, **weighting),
        "class_counts": class_counts,
        "class_prior": class_counts / class_counts.sum(),
    }
    return {name: values.astype(np.float32) for name, values in given.items()}


def dropout_masks(replicate: Replicate, epoch: int) -> list[np.ndarray]:
    """The masks (S, width, B) float32 of each dropout in an epoch: 0, or 1 / (1 - rate) where kept.

    They come as data, from the seed and the epoch alone, so that a fleet and a solo run drop the same units.
    """
    from lossfleet.runners.models.layers import dropouts

    assert replicate.layers is not None
    found = dropouts(replicate.layers, replicate.features.shape[1])
    widths = [width for _, width in found]
    random = generator(Stream.DROPOUT, replicate.seed, epoch)
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
    random = generator(Stream.DROPOUT, replicate.seed, epoch)
    return random.integers(2**31, size=(replicate.steps, dropouts), dtype=np.int32)


def learning_rates(replicate: Replicate) -> np.ndarray:
    """The learning rate of every step of a training, (epochs, S) float64."""
    config = replicate.config
    steps = np.arange(1, config.budget.epochs * replicate.steps + 1)
    factors = config.schedule.call(step=steps, steps=len(steps))
    return (config.optimizer["lr"] * np.asarray(factors, np.float64)).reshape(-1, replicate.steps)
