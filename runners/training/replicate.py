"""A replicate: one training of one configuration on one seed and split, with all the numbers it needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossfleet.conf.schema import Config, Data, Focal, Loss, Sampler, Smote, WeightedCrossEntropy
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.samplers import index_plan, training_rows
from lossfleet.runners.data.splits import Split, make_split
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.models.initial import Parameters, initial_parameters
from lossfleet.runners.streams import Stream, generator
from lossfleet.runners.training.cache import ByteBoundedCache

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
    """What solo and fleet share: examples, index plan, class weights and initial parameters.

    plan (epochs, n) points into the rows; rows_key names them, so that replicates of the same rows can share
    them; class_weight is (C,).
    """

    config: Config
    seed: int
    split_number: int
    split: Split
    rows: Rows
    rows_key: tuple[object, ...]
    plan: np.ndarray
    class_weight: np.ndarray
    initial: Parameters

    @property
    def features(self) -> np.ndarray:
        """(M, F) float32."""
        return self.rows.features

    @property
    def labels(self) -> np.ndarray:
        """(M,) int32."""
        return self.rows.labels

    @property
    def steps(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-self.plan.shape[1] // self.config.batch_size)


class ReplicateFactory:
    """Makes the replicates of one data set, and keeps the splits, rows and plans that it made lately."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.dataset: Dataset = open_dataset(data)
        self._splits: ByteBoundedCache[Split] = ByteBoundedCache(KEPT_BYTES)
        self._rows: ByteBoundedCache[Rows] = ByteBoundedCache(KEPT_BYTES)
        self._plans: ByteBoundedCache[np.ndarray] = ByteBoundedCache(KEPT_BYTES)

    def split(self, seed: int, number: int) -> Split:
        """The split of a (seed, split) pair."""
        return self._splits.get(
            (seed, number),
            lambda: make_split(
                self.dataset,
                seed=seed,
                split=number,
                validation_fraction=self.data.validation_fraction,
                test_fraction=self.data.test_fraction,
                long_tail=self.data.long_tail,
            ),
        )

    def replicate(self, config: Config, *, seed: int, split: int) -> Replicate:
        """The replicate of a configuration on a (seed, split) pair."""
        parts = self.split(seed, split)
        key = rows_key(config.sampler, seed, split)
        rows = self._rows.get(key, lambda: Rows(*training_rows(config.sampler, parts, seed=seed)))
        return Replicate(
            config=config,
            seed=seed,
            split_number=split,
            split=parts,
            rows=rows,
            rows_key=key,
            plan=self._plan(config, len(parts.train_labels), rows.labels, seed, split),
            class_weight=class_weight(config.loss, parts.class_counts),
            initial=initial_parameters(
                config.model, rows.features.shape[1], len(self.dataset.class_names), seed=seed
            ),
        )

    def _plan(self, config: Config, train_rows: int, labels: np.ndarray, seed: int, split: int) -> np.ndarray:
        """The index plan; trials that differ in loss or optimizer alone have the same one."""
        return self._plans.get(
            (config.sampler, config.budget.epochs, seed, split),
            lambda: index_plan(config.sampler, train_rows, labels, seed=seed, epochs=config.budget.epochs),
        )


def rows_key(sampler: Sampler, seed: int, split: int) -> tuple[object, ...]:
    """What names the training rows of a replicate: its split, and for SMOTE the neighbours."""
    return (seed, split, sampler.name, sampler.neighbors) if isinstance(sampler, Smote) else (seed, split)


def class_weight(loss: Loss, class_counts: np.ndarray) -> np.ndarray:
    """The class weights (C,) float32 of a loss, their mean over the training examples being 1.

    Args:
        loss: configuration of the loss; without class weights all are 1.
        class_counts: (C,) int, the training part before any resampling.
    """
    from lossfleet.losses.weights import (
        alpha_weights,
        effective_number_weights,
        normalize_weights,
        power_weights,
    )

    weights = np.ones(len(class_counts))
    if isinstance(loss, WeightedCrossEntropy | Focal):
        if loss.tau is not None:
            weights = power_weights(class_counts, tau=loss.tau)
        elif loss.alpha is not None:
            weights = alpha_weights(loss.alpha)
        elif loss.beta is not None:
            weights = effective_number_weights(class_counts, beta=loss.beta)
        elif loss.class_weight is not None:
            weights = np.asarray(loss.class_weight)
    return normalize_weights(weights, class_counts).astype(np.float32)


def dropout_masks(replicate: Replicate, epoch: int) -> np.ndarray:
    """The dropout masks (S, sum of widths, B) float32 of an epoch: 0, or 1 / (1 - dropout) where kept.

    They come as data, from the seed and the epoch alone, so that a fleet and a solo run drop the same units.
    """
    model, batch_size = replicate.config.model, replicate.config.batch_size
    random = generator(Stream.DROPOUT, replicate.seed, epoch)
    kept = random.random((replicate.steps, sum(model.widths), batch_size), np.float32) >= model.dropout
    return kept * np.float32(1 / (1 - model.dropout))
