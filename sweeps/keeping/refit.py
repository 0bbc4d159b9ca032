"""A configuration trained on all rows: several seeds in one fleet, for a model that is the mean of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.conf.errors import Failure, UserError
from lossfleet.conf.schema import Config
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.categories import Categories
from lossfleet.runners.data.samplers import makes_rows
from lossfleet.runners.data.splits import Split, long_tail_counts, weights_of
from lossfleet.runners.images.pixels import Features, Images, standardised
from lossfleet.runners.portable.encoder import Encoder, raw_columns
from lossfleet.runners.prediction.columns import describe_columns, described_categories
from lossfleet.runners.prediction.stored import EXAMPLE_ROWS
from lossfleet.runners.streams import Stream, generator
from lossfleet.runners.tables.reading import MISSING
from lossfleet.runners.training.replicate import Replicate, drawn_plan, drawn_rows, make_replicate

if TYPE_CHECKING:
    import pandas as pd

    from lossfleet.runners.models.initial import Parameters
    from lossfleet.runners.models.weights import Kind

# All rows are one more split, and members have seeds away from those of the budget's defaults.
WHOLE_SPLIT = 2000
FIRST_SEED = 200


@dataclass(frozen=True, eq=False)
class Refit:
    """What was trained.

    Fields: columns, as `describe_columns` has them; rows, those that it was trained on, as the data set has them;
    kinds and weights, as `models.weights` has them; seeds of the members; class_counts (C,) of the rows;
    prior (C,), the share of each class, by weight where rows have any.
    """

    columns: list[dict[str, Any]]
    rows: pd.DataFrame
    kinds: list[Kind]
    weights: dict[str, np.ndarray]
    seeds: list[int]
    class_counts: np.ndarray
    prior: np.ndarray


def refit(config: Config, dataset: Dataset, *, members: int, epochs: int | None = None) -> Refit:
    """Train a configuration on all rows of its data, thinned where `data.long_tail` thins training parts.

    Args:
        config: of one trial.
        dataset: of the configuration.
        members: K of at least 1, trained together.
        epochs: after so many of those of the configuration it ends; None for all of them.

    Raises:
        UserError: the model is not made of layers that NumPy can compute.
        Failure: every member diverged.
    """
    from lossfleet.runners.models.weights import layer_weights
    from lossfleet.runners.training.build import build_slots
    from lossfleet.runners.training.native.fleet import trains_natively
    from lossfleet.runners.training.shape import FleetShape, shape_on

    chosen = training_rows_of_all(dataset, config.data.long_tail)
    table, columns, encoded = encoded_rows(dataset, chosen)
    split = whole_split(encoded, dataset, chosen, described_categories(columns))
    seeds = list(range(FIRST_SEED, FIRST_SEED + members))
    replicates = [whole_replicate(config, split, seed) for seed in seeds]
    kinds = portable_kinds(config, replicates[0])
    shape = shape_on(config, split)
    assert isinstance(shape, FleetShape)
    fleet = build_slots(
        shape,
        native=trains_natively(shape, config.engine.native),
        slots=members,
        pages=len({each.rows_key for each in replicates}),
        page_rows=max(len(each.labels) for each in replicates),
        evaluation_rows=1,
    )
    for slot, replicate in enumerate(replicates):
        fleet.enter(slot, replicate)
    for _ in range(epochs or config.budget.epochs):
        losses = fleet.train_epoch()
    networks = [fleet.networks(slot) for slot in range(members)]
    finite = converged(config.strategy, losses, networks)
    return Refit(
        columns=columns,
        rows=table,
        kinds=kinds,
        weights=layer_weights(shape.layers, list(chain.from_iterable(compress(networks, finite)))),
        seeds=[seed for seed, is_finite in zip(seeds, finite, strict=True) if is_finite],
        class_counts=split.class_counts,
        prior=split.weighted_counts / split.weighted_counts.sum(),
    )


def converged(
    strategy: str, losses: np.ndarray, members: Sequence[Sequence[Sequence[Parameters]]]
) -> list[bool]:
    """Which members did not diverge; those that did are told.

    Args:
        strategy: of the members.
        losses: (K,), of each one's last epoch.
        members: the networks of each.

    Raises:
        Failure: all of them diverged.
    """
    finite = np.isfinite(losses) & [_is_finite(each) for each in members]
    if not finite.any():
        raise Failure(f"every one of the {len(finite)} members of {strategy} diverged on all rows")
    if not finite.all():
        left_out = len(finite) - int(finite.sum())
        print(f"{left_out} of {len(finite)} members of {strategy} diverged and are left out", file=sys.stderr)
    return [bool(each) for each in finite]


def _is_finite(networks: Sequence[Sequence[Parameters]]) -> bool:
    """Whether every number of every network is."""
    return all(np.isfinite(array).all() for network in networks for arrays in network for array in arrays)


def encoded_rows(dataset: Dataset, rows: np.ndarray) -> tuple[pd.DataFrame, list[dict[str, Any]], Features]:
    """The rows as the data set has them, of images a few; how they are encoded; and the features (n, F)."""
    import pandas as pd

    if isinstance(dataset.features, Images):
        images = dataset.features.take(rows)
        columns = describe_columns(images)
        few = images.pixels[images.rows[:EXAMPLE_ROWS]].astype(float)
        return pd.DataFrame(few, columns=list(raw_columns(columns))), columns, standardised([images])[0]
    table = dataset.features.iloc[rows].reset_index(drop=True)
    columns = describe_columns(table)
    return table, columns, Encoder(columns, MISSING).features(table)


def training_rows_of_all(dataset: Dataset, long_tail: float | None) -> np.ndarray:
    """The rows to train on, in their order: all, or those of a long tail."""
    if long_tail is None:
        return np.arange(len(dataset.labels))
    counts = long_tail_counts(dataset.class_counts, long_tail)
    random = generator(Stream.SPLIT, 0, WHOLE_SPLIT)
    rows = [
        random.permutation(np.flatnonzero(dataset.labels == label))[:count]
        for label, count in enumerate(counts)
    ]
    return np.sort(np.concatenate(rows))


def whole_split(
    features: Features, dataset: Dataset, rows: np.ndarray, categories: Categories | None = None
) -> Split:
    """A split whose training part is everything; of the other parts nothing is left.

    Args:
        features: (n, F) float32, encoded.
        dataset: has the labels, and perhaps weights.
        rows: (n,), where the features come from.
        categories: the features that are no quantities.
    """
    labels = dataset.labels[rows].astype(np.int32)
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    return Split(
        train_features=features,
        train_labels=labels,
        validation_features=features[:0],
        validation_labels=labels[:0],
        test_features=features[:0],
        test_labels=labels[:0],
        test_rows=rows[:0],
        class_counts=counts,
        rarest_class=int(counts.argmin()),
        draws=len(labels),
        train_weights=weights_of(dataset, rows),
        image_shape=dataset.image_shape,
        categories=categories,
        class_names=dataset.class_names,
    )


def portable_kinds(config: Config, replicate: Replicate) -> list[Kind]:
    """The kinds of the layers.

    Raises:
        UserError: one of them is of a class that only MindSpore can compute, or the model is an nn.Cell.
    """
    from lossfleet.runners.models.weights import layer_kinds

    kinds = None if replicate.layers is None else layer_kinds(replicate.layers)
    if kinds is None:
        raise UserError(
            what=f"model={config.model.name} cannot be kept: it has layers that are not lossfleet's own",
            expected="a model that predicts without MindSpore",
            hint="write keep=none, or choose model=mlp",
        )
    return kinds


def whole_replicate(config: Config, split: Split, seed: int) -> Replicate:
    """A member in training: a configuration on the split of `whole_split`, with a seed of its own."""
    rows = drawn_rows(config, split, seed=seed)
    plan = drawn_plan(config, split, rows, seed=seed)
    key = ("whole", seed) if makes_rows(config.sampler) else ("whole",)
    return make_replicate(config, split, rows, plan, seed=seed, split_number=WHOLE_SPLIT, key=key)
