"""A replicate in plain PyTorch: the same data, draws, initial parameters and metrics as lossfleet's."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lossfleet.conf.schema import Config
from lossfleet.runners.data.splits import Split
from lossfleet.runners.metrics.classification import classification_metrics
from lossfleet.runners.training.replicate import Replicate
from tests.benchmarks.work import factory

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


def make_model(replicate: Replicate) -> nn.Sequential:
    """The MLP with the initial parameters of a replicate."""
    layers: list[nn.Module] = []
    for weight, bias in replicate.initial:
        dense = nn.Linear(weight.shape[1], weight.shape[0])
        dense.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [dense, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def class_weights(tau: float | None, counts: np.ndarray) -> torch.Tensor | None:
    """n_c^-tau with mean 1 over the training examples; None where the loss has no weights."""
    if tau is None:
        return None
    weights = counts.astype(np.float64) ** -tau
    return torch.from_numpy((weights * counts.sum() / (weights * counts).sum()).astype(np.float32))


def batch_loss(loss: dict[str, Any], weights: torch.Tensor | None, logits: Any, labels: Any) -> torch.Tensor:
    """The mean loss of a batch, over the examples that count; `loss` has the settings."""
    losses = functional.cross_entropy(logits, labels, reduction="none")
    if "keep" in loss:
        return losses.topk(math.ceil(loss["keep"] * len(losses) * (1 - 1e-6))).values.mean()
    if "gamma" in loss:
        # Away from 0, where the power's gradient is infinite for gamma below 1.
        losses = (1 - torch.exp(-losses)).clamp_min(1e-7) ** loss["gamma"] * losses
    return losses.mean() if weights is None else (losses * weights[labels]).mean()


def train(config: Config, seed: int, number: int, with_test: bool) -> Trained:
    """Train one replicate, measured on validation at the rungs and, if asked, on test at the end."""
    # Models this small gain nothing from threads.
    torch.set_num_threads(1)
    started = time.time()
    replicate = factory(config.data).replicate(config, seed=seed, split=number)
    split, settings = replicate.split, config.to_dict()
    features, labels = torch.from_numpy(replicate.features), torch.from_numpy(replicate.labels).long()
    validation_features = torch.from_numpy(split.validation_features)
    epochs = config.budget.epochs
    orders = torch.from_numpy(replicate.plan).long()
    model = make_model(replicate)
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
            loss = batch_loss(settings["loss"], weights, model(features[batch]), labels[batch])
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
