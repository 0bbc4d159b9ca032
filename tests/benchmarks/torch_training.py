"""A replicate in plain PyTorch: the same data, draws, initial parameters and metrics as lossfleet's."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lossfleet.conf.schema import Config, Data, Ohem, Sampler
from lossfleet.runners.data.builtin import Dataset, load_dataset
from lossfleet.runners.data.samplers import index_plan, training_rows
from lossfleet.runners.data.splits import Split, make_split
from lossfleet.runners.metrics.classification import classification_metrics
from lossfleet.runners.models.initial import initial_parameters

RUNG_METRICS = ("balanced_accuracy", "macro_f1", "rarest_recall")


@dataclass(frozen=True)
class Trained:
    """What a replicate measured: last values, curves at the rungs, and when (unix seconds)."""

    seed: int
    split: int
    metrics: dict[str, float]
    curves: dict[str, list[tuple[int, float]]]
    started: float
    ended: float


@lru_cache
def dataset(name: str) -> Dataset:
    """A data set, loaded once a process."""
    return load_dataset(name)


@lru_cache
def split_of(data: Data, seed: int, number: int) -> Split:
    """A split, made once a process."""
    return make_split(
        dataset(data.name),
        seed=seed,
        split=number,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        long_tail=data.long_tail,
    )


@lru_cache
def rows_of(data: Data, sampler: Sampler, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The training rows of a sampler, made once a process."""
    return training_rows(sampler, split_of(data, seed, number), seed=seed)


def make_model(config: Config, features: int, classes: int, seed: int) -> nn.Sequential:
    """The MLP with the initial parameters of a seed."""
    sizes = (features, *config.model.widths, classes)
    layers: list[nn.Module] = []
    parameters = initial_parameters(config.model, features, classes, seed=seed)
    for (inputs, outputs), (weight, bias) in zip(pairwise(sizes), parameters, strict=True):
        dense = nn.Linear(inputs, outputs)
        dense.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [dense, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def class_weights(config: Config, counts: np.ndarray) -> torch.Tensor | None:
    """n_c^-tau with mean 1 over the training examples; None where the loss has no weights."""
    tau = getattr(config.loss, "tau", None)
    if tau is None:
        return None
    weights = counts.astype(np.float64) ** -tau
    return torch.from_numpy((weights * counts.sum() / (weights * counts).sum()).astype(np.float32))


def batch_loss(config: Config, weights: torch.Tensor | None, logits: Any, labels: Any) -> torch.Tensor:
    """The mean loss of a batch, over the examples that count."""
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if isinstance(config.loss, Ohem):
        return losses.topk(math.ceil(config.loss.keep * len(losses) * (1 - 1e-6))).values.mean()
    gamma = getattr(config.loss, "gamma", None)
    if gamma is not None:
        # Away from 0, where the power's gradient is infinite for gamma below 1.
        losses = (1 - torch.exp(-losses)).clamp_min(1e-7) ** gamma * losses
    return losses.mean() if weights is None else (losses * weights[labels]).mean()


def train(config: Config, seed: int, number: int, with_test: bool) -> Trained:
    """Train one replicate, measured on validation at the rungs and, if asked, on test at the end."""
    # Models this small gain nothing from threads.
    torch.set_num_threads(1)
    started = time.time()
    split = split_of(config.data, seed, number)
    rows, row_labels = rows_of(config.data, config.sampler, seed, number)
    features, labels = torch.from_numpy(rows), torch.from_numpy(row_labels).long()
    validation_features = torch.from_numpy(split.validation_features)
    epochs = config.budget.epochs
    plan = index_plan(config.sampler, len(split.train_labels), row_labels, seed=seed, epochs=epochs)
    orders = torch.from_numpy(plan).long()
    model = make_model(config, features.shape[1], len(split.class_counts), seed)
    weights = class_weights(config, split.class_counts)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay, fused=True
    )
    curves: dict[str, list[tuple[int, float]]] = {}
    metrics: dict[str, float] = {}
    for epoch, order in enumerate(orders, 1):
        losses = []
        for batch in order.split(config.batch_size):
            loss = batch_loss(config, weights, model(features[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        if epoch in config.budget.rung_epochs():
            metrics["train_loss"] = float(torch.stack(losses).mean())
            names = None if epoch == epochs else RUNG_METRICS
            metrics |= measure(
                model, validation_features, split.validation_labels, split, "validation", names
            )
            for name in ("train_loss", *(f"validation_{name}" for name in RUNG_METRICS)):
                curves.setdefault(name, []).append((epoch, metrics[name]))
    if with_test:
        test_features = torch.from_numpy(split.test_features)
        metrics |= measure(model, test_features, split.test_labels, split, "test", None)
    return Trained(seed, number, metrics, curves, started, time.time())


def measure(
    model: nn.Module,
    features: torch.Tensor,
    labels: np.ndarray,
    split: Split,
    part: str,
    names: tuple[str, ...] | None,
) -> dict[str, float]:
    """Metrics of a model on a part of its split, all where no names are given."""
    with torch.no_grad():
        logits = model(features).numpy().T
    found = classification_metrics(logits, labels, rarest_class=split.rarest_class, names=names)
    return {f"{part}_{name}": float(value) for name, value in found.items()}
