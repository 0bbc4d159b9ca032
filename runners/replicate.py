"""A replicate: one training of one configuration on one seed and split, with all the numbers it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from conf.schema import ClassBalanced, Config, Data, Focal, Loss, Sampler, Smote, WeightedCrossEntropy
from runners.data import Dataset
from runners.initial import Parameters, initial_parameters
from runners.samplers import index_plan, training_rows
from runners.splits import Split, make_split
from runners.streams import Stream, generator
from runners.tables import open_dataset


@dataclass(frozen=True, eq=False)
class Replicate:
    """What solo and fleet share: examples, index plan, class weights and initial parameters.

    features (M, F) and labels (M,) are the rows that plan (epochs, n) points into; class_weight is (C,);
    rows_key names the rows, so that replicates of the same rows can share them.
    """

    config: Config
    seed: int
    split_number: int
    split: Split
    features: np.ndarray
    labels: np.ndarray
    rows_key: tuple[object, ...]
    plan: np.ndarray
    class_weight: np.ndarray
    initial: Parameters

    @property
    def steps(self) -> int:
        """Optimizer steps an epoch; the last batch may be smaller."""
        return -(-self.plan.shape[1] // self.config.batch_size)


@dataclass(eq=False)
class Workshop:
    """Makes the replicates of one data set, and keeps the splits and plans it has made."""

    data: Data
    dataset: Dataset = field(init=False)
    splits: dict[tuple[int, int], Split] = field(default_factory=dict, init=False)
    rows: dict[tuple[object, ...], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, init=False)
    plans: dict[tuple[object, ...], np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.dataset = open_dataset(self.data)

    def split(self, seed: int, number: int) -> Split:
        """The split of a (seed, split) pair."""
        if (seed, number) not in self.splits:
            self.splits[seed, number] = make_split(
                self.dataset,
                seed=seed,
                split=number,
                validation_fraction=self.data.validation_fraction,
                test_fraction=self.data.test_fraction,
                long_tail=self.data.long_tail,
            )
        return self.splits[seed, number]

    def replicate(self, config: Config, *, seed: int, split: int) -> Replicate:
        """The replicate of a configuration on a (seed, split) pair."""
        parts = self.split(seed, split)
        rows_key = (seed, split, rows_of(config.sampler))
        if rows_key not in self.rows:
            self.rows[rows_key] = training_rows(config.sampler, parts, seed=seed)
        features, labels = self.rows[rows_key]
        return Replicate(
            config=config,
            seed=seed,
            split_number=split,
            split=parts,
            features=features,
            labels=labels,
            rows_key=rows_key,
            plan=self._plan(config, len(parts.train_labels), labels, seed, split),
            class_weight=class_weight(config.loss, parts.class_counts),
            initial=initial_parameters(
                config.model, features.shape[1], len(self.dataset.class_names), seed=seed
            ),
        )

    def _plan(self, config: Config, train_rows: int, labels: np.ndarray, seed: int, split: int) -> np.ndarray:
        """The index plan; trials that differ in loss or optimizer alone have the same one."""
        key = (config.sampler, config.budget.epochs, seed, split)
        if key in self.plans:
            return self.plans[key]
        plan = index_plan(config.sampler, train_rows, labels, seed=seed, epochs=config.budget.epochs)
        # A continuous exponent hardly comes twice.
        if not isinstance(config.sampler, ClassBalanced):
            self.plans[key] = plan
        return plan


def rows_of(sampler: Sampler) -> tuple[object, ...]:
    """What tells the training rows of a sampler from the plain training part: nothing but for SMOTE."""
    return (sampler.name, sampler.neighbors) if isinstance(sampler, Smote) else ()


def class_weight(loss: Loss, class_counts: np.ndarray) -> np.ndarray:
    """The class weights (C,) float32 of a loss, their mean over the training examples being 1.

    Args:
        loss: configuration of the loss; without class weights all are 1.
        class_counts: (C,) int, the training part before any resampling.
    """
    from losses.weights import alpha_weights, effective_number_weights, normalize_weights, power_weights

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
