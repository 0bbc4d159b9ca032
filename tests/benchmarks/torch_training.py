"""A replicate in plain PyTorch: the same data, draws, losses and metrics as lossfleet's."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lossfleet.conf.schema import Config
from lossfleet.runners.data.splits import Split
from lossfleet.runners.metrics.classification import classification_metrics
from tests.benchmarks.work import rows_of

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


def make_model(sizes: tuple[int, ...], seed: int) -> nn.Sequential:
    """An MLP from its inputs to its outputs."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, out in pairwise(sizes):
        layers += [nn.Linear(inputs, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def class_weights(tau: float | None, counts: np.ndarray) -> torch.Tensor | None:
    """n_c^-tau with mean 1 over the training examples; None where the loss has no weights."""
    if tau is None:
        return None
    weights = counts.astype(np.float64) ** -tau
    return torch.from_numpy((weights * counts.sum() / (weights * counts).sum()).astype(np.float32))


def batch_loss(
    settings: dict[str, Any], weights: torch.Tensor | None, logits: Any, labels: Any
) -> torch.Tensor:
    """The mean loss of a batch, over the examples that count."""
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if "gamma" in settings["loss"]:
        # Away from 0, where the power's gradient is infinite for gamma below 1.
        losses = (1 - torch.exp(-losses)).clamp_min(1e-7) ** settings["loss"]["gamma"] * losses
    if weights is not None:
        losses = losses * weights[labels]
    if "keep" in settings["mining"]:
        losses = losses.topk(math.ceil(settings["mining"]["keep"] * len(losses) * (1 - 1e-6))).values
    return losses.mean()


def train(config: Config, seed: int, number: int, with_test: bool) -> Trained:
    """Train one replicate, measured on validation at the rungs and, if asked, on test at the end."""
    # Models this small gain nothing from threads.
    torch.set_num_threads(1)
    started = time.time()
    rows, settings = rows_of(config, seed, number), config.to_dict()
    split = rows.split
    features, labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels).long()
    validation_features = torch.from_numpy(split.validation_features)
    epochs = config.budget.epochs
    orders = torch.from_numpy(rows.plan).long()
    model = make_model((features.shape[1], *settings["model"]["widths"], len(split.class_counts)), seed)
    weights = class_weights(settings["loss"].get("tau"), split.class_counts)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings["optimizer"]["lr"],
        weight_decay=settings["optimizer"]["weight_decay"],
        fused=True,
    )
    curves: dict[str, list[tuple[int, float]]] = {}
    metrics: dict[str, float] = {}
    for epoch, order in enumerate(orders, 1):
        losses = []
        for batch in order.split(config.batch_size):
            loss = batch_loss(settings, weights, model(features[batch]), labels[batch])
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
