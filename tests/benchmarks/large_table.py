"""An epoch of a table of a million rows: the native core beside PyTorch with batches by index, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from lossfleet.runners.models.initial import initial_parameters
from lossfleet.runners.models.mlp import mlp
from lossfleet.runners.training.native.call import Call
from lossfleet.runners.training.native.translation import flat_parameters, layer_rows
from tests.benchmarks.measure import HAS_TORCH, NO_TORCH, Report

FEATURES, CLASSES, WIDTHS, BATCH = 70, 2, (64, 64), 64
GAMMA, RATE, DECAY = 2.0, 1e-3, 1e-5
BETAS, EPSILON = (0.9, 0.999), 1e-8
Epoch = Callable[[], None]


def run(quick: bool) -> list[Report]:
    """Both in turn, round after round; the least of each counts."""
    count, rounds = (1000, 1) if quick else (1_000_000, 3)
    random = np.random.default_rng(0)
    features = random.normal(size=(count, FEATURES)).astype(np.float32)
    labels = (random.random(count) < 0.05).astype(np.int32)
    order = random.permutation(count).astype(np.int32)
    epochs = {"native": native(features, labels, order)}
    if HAS_TORCH:
        epochs["PyTorch"] = torch_by_index(features, labels, order)
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - start)
    least = {name: min(own) for name, own in seconds.items()}
    ratio = {"native / PyTorch": least["native"] / least["PyTorch"]} if HAS_TORCH else {}
    rows = [{"rows": count, **{f"{name} s": value for name, value in least.items()}, **ratio}]
    notes = (
        f"An epoch of {count:,} rows of {FEATURES} numbers, an MLP 64-64, batches of {BATCH}, AdamW and focal loss, on "
        f"one core; least of {rounds}, the two in turn.",
        "PyTorch takes each batch by its index, the fastest of its loaders where all rows are in memory.",
        *(() if HAS_TORCH else (NO_TORCH,)),
    )
    return [Report("A large table: one epoch", rows, notes, seconds)]


def native(features: np.ndarray, labels: np.ndarray, order: np.ndarray) -> Epoch:
    """An epoch of the native core, in this thread."""
    layers = mlp(FEATURES, CLASSES, widths=WIDTHS)
    parameters = flat_parameters(initial_parameters(layers, FEATURES, seed=0))
    moments = [np.zeros_like(parameters) for _ in range(2)]
    steps = -(-len(order) // BATCH)
    step = np.arange(1, steps + 1)
    root = np.sqrt(1 - BETAS[1] ** step)
    coefficients = np.stack(
        [RATE * root / (1 - BETAS[0] ** step), EPSILON * root, np.full(steps, 1 - RATE * DECAY)]
    )
    inputs = [
        layer_rows(layers, FEATURES),
        parameters,
        *moments,
        features,
        labels,
        order,
        np.ones((1, 1, 1), np.float32),
        np.ones(CLASSES, np.float32),
        np.ones(len(order), np.float32),
        np.array([[1, 1], [0, 0], [0, 0]], np.float32),
        np.zeros(1, np.int32),
        np.ones((2, 1), np.float32),
        np.array([BATCH, 0, 0, 0], np.int32),
        np.array([GAMMA, 0, 0, 0, *BETAS, 0], np.float32),
        coefficients.astype(np.float32),
        np.zeros((2, FEATURES), np.float32),
    ]
    return Call("train_epoch", *inputs, parameters, *moments, np.zeros(1, np.float32))


def torch_by_index(features: np.ndarray, labels: np.ndarray, order: np.ndarray) -> Epoch:
    """The same in PyTorch, with one thread."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(1)
    network = nn.Sequential(
        nn.Linear(FEATURES, WIDTHS[0]),
        nn.ReLU(),
        nn.Linear(*WIDTHS),
        nn.ReLU(),
        nn.Linear(WIDTHS[1], CLASSES),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    rows, classes, batches = (
        torch.from_numpy(features),
        torch.from_numpy(labels).long(),
        torch.from_numpy(order),
    )

    def epoch() -> None:
        for batch in batches.long().split(BATCH):
            logits = network(rows.index_select(0, batch))
            losses = functional.cross_entropy(logits, classes.index_select(0, batch), reduction="none")
            loss = ((1 - torch.exp(-losses)) ** GAMMA * losses).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch
