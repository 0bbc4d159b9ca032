"""Peers that train the reference work; each runs in a process of its own and answers on standard output.

The reference work of a model: 400 rows, 30 features, 2 classes, MLP 32-32, batches of 64, AdamW, focal loss.
`python -m tests.benchmarks.peers NAME MODELS [CORE]` reads numbers of epochs and answers the seconds they took.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.conf.schema import Config
from tests.benchmarks.image_peers import image_peer
from tests.benchmarks.work import Rows, configuration, factory, rows_of, with_settings

if TYPE_CHECKING:
    from lossfleet.runners.training.shape import FleetShape
    from lossfleet.runners.training.slots import Slots

ROWS, FEATURES, CLASSES = 400, 30, 2
WIDTHS = (32, 32)
GAMMA = 2.0
# Of the 569 rows of breast_cancer 400 are for training.
WORK = (
    "data=breast_cancer",
    "data.validation_fraction=0.15",
    "data.test_fraction=0.146",
    "strategy=focal",
    f"loss.gamma={GAMMA}",
    f"model.widths=[{WIDTHS[0]},{WIDTHS[1]}]",
    "batch_size=64",
    "budget.rungs=1",
)
# Forward, and backward with regard to weights and inputs; two floating point operations a product.
FLOPS = 3 * 2 * ROWS * (FEATURES * WIDTHS[0] + WIDTHS[0] * WIDTHS[1] + WIDTHS[1] * CLASSES)
# Index plans start over after this many epochs; those of a solo run are long enough never to end.
PLANNED_EPOCHS, SOLO_EPOCHS = 16, 10_000
SGEMM_SIZE = 2048

Epoch = Callable[[], object]


def configurations(count: int) -> list[Config]:
    """The reference work of some models, whose learning rates differ."""
    base = configuration(*WORK, f"budget.epochs={PLANNED_EPOCHS}")
    rates = np.geomspace(1e-4, 1e-2, count)
    return [with_settings(base, {"optimizer.lr": float(rate)}) for rate in rates]


def reference_rows(config: Config) -> Rows:
    """The examples that all models share, and their order."""
    rows = rows_of(config, seed=0, number=0)
    assert rows.features.shape == (ROWS, FEATURES)
    return rows


def native(models: int) -> Epoch:
    """lossfleet's native fleet, a thread a core."""
    from lossfleet.runners.training.native.fleet import NativeFleet

    return _epoch_of(NativeFleet(fleet_shape(), slots=models))


def fleet(models: int) -> Epoch:
    """lossfleet's graph fleet, with fused kernels."""
    from lossfleet.runners.training.fleet import Fleet
    from lossfleet.runners.training.fusion import fuse_kernels, publish_kernels

    fuse_kernels()
    epoch = _epoch_of(Fleet(fleet_shape(), slots=models, pages=1, page_rows=ROWS, evaluation_rows=1))
    epoch()
    publish_kernels()
    return epoch


def fleet_shape() -> FleetShape:
    """What the models have in common."""
    from lossfleet.runners.training.shape import FleetShape, shape_of

    shape = shape_of(configurations(1)[0], features=FEATURES, classes=CLASSES, train_rows=ROWS)
    assert isinstance(shape, FleetShape)
    return shape


def _epoch_of(made: Slots) -> Epoch:
    """An epoch of a fleet whose slots take a model each."""
    for slot, config in enumerate(configurations(made.slots)):
        made.enter(slot, factory(config.data).replicate(config, seed=0, split=0))

    def epoch() -> np.ndarray:
        made.epochs %= PLANNED_EPOCHS
        return made.train_epoch()

    return epoch


def torch_stacked(models: int) -> Epoch:
    """PyTorch with the models stacked: batched products, and AdamW with a learning rate for each model."""
    import torch
    from torch.nn import functional

    configs = configurations(models)
    optimizer, batch_size = configs[0].to_dict()["optimizer"], configs[0].batch_size
    beta1, beta2 = optimizer["beta1"], optimizer["beta2"]
    rows = reference_rows(configs[0])
    features, labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels).long()
    plan = torch.from_numpy(np.stack([rows.plan] * models, axis=1)).long()
    lr = torch.tensor([[[config.to_dict()["optimizer"]["lr"]]] for config in configs])
    decay = 1 - lr * optimizer["weight_decay"]
    layers = []
    for inputs, out in pairwise((FEATURES, *WIDTHS, CLASSES)):
        weight, bias = torch.randn(models, inputs, out) / inputs**0.5, torch.zeros(models, 1, out)
        layers.append((weight.requires_grad_(), bias.requires_grad_()))
    parameters = [parameter for layer in layers for parameter in layer]
    first_moments = [torch.zeros_like(parameter) for parameter in parameters]
    second_moments = [torch.zeros_like(parameter) for parameter in parameters]
    step = epochs_done = 0

    def train_step(batch: Any) -> Any:
        nonlocal step
        step += 1
        hidden = features[batch]
        for index, (weight, bias) in enumerate(layers):
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = functional.relu(hidden) if index < len(layers) - 1 else hidden
        log_p = functional.log_softmax(hidden, -1).gather(2, labels[batch][..., None])[..., 0]
        losses = (-((1 - log_p.exp()) ** GAMMA) * log_p).mean(1)
        gradients = torch.autograd.grad(losses.sum(), parameters)
        step_size = lr / (1 - beta1**step)
        correction = (1 - beta2**step) ** 0.5
        with torch.no_grad():
            for parameter, gradient, first, second in zip(
                parameters, gradients, first_moments, second_moments, strict=True
            ):
                first.lerp_(gradient, 1 - beta1)
                second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                denominator = second.sqrt().div_(correction).add_(optimizer["epsilon"])
                parameter.mul_(decay).sub_(first.div(denominator).mul_(step_size))
        return losses.detach()

    def epoch() -> np.ndarray:
        nonlocal epochs_done
        order = plan[epochs_done % PLANNED_EPOCHS]
        epochs_done += 1
        losses = [train_step(batch) for batch in order.split(batch_size, dim=1)]
        return torch.stack(losses).mean(0).numpy()

    return epoch


def torch_stacked_1_thread(models: int) -> Epoch:
    """The same on one thread, which is faster for few models and on a busy machine."""
    import torch

    torch.set_num_threads(1)
    return torch_stacked(models)


def torch_eager(models: int) -> Epoch:
    """PyTorch as most write it, one model after another."""
    import torch
    from torch import nn
    from torch.nn import functional

    # Operations this small gain nothing from threads.
    torch.set_num_threads(1)
    configs = configurations(models)
    rows = reference_rows(configs[0])
    features, labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels).long()
    plan = torch.from_numpy(rows.plan).long()
    trainings = []
    for config in configs:
        sizes = (FEATURES, *WIDTHS, CLASSES)
        dense = [nn.Linear(*pair) for pair in pairwise(sizes)]
        model = nn.Sequential(dense[0], nn.ReLU(), dense[1], nn.ReLU(), dense[2])
        settings = config.to_dict()["optimizer"]
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"], fused=True
        )
        trainings.append((model, optimizer))
    batch_size = configs[0].batch_size
    epochs_done = 0

    def epoch() -> list[float]:
        nonlocal epochs_done
        order_number = epochs_done % PLANNED_EPOCHS
        epochs_done += 1
        means = []
        for model, optimizer in trainings:
            losses = []
            for batch in plan[order_number].split(batch_size):
                losses_of_rows = functional.cross_entropy(
                    model(features[batch]), labels[batch], reduction="none"
                )
                loss = ((1 - torch.exp(-losses_of_rows)) ** GAMMA * losses_of_rows).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            means.append(float(torch.stack(losses).mean()))
        return means

    return epoch


def solo(models: int) -> Epoch:
    """lossfleet's solo engine: stock MindSpore layers in PyNative mode, launches synchronised."""
    from lossfleet.runners.training.solo import train_solo

    config = configuration(*WORK, f"budget.epochs={SOLO_EPOCHS}")
    progress = train_solo(factory(config.data).replicate(config, seed=0, split=0))
    return lambda: next(progress)


def pynative(models: int) -> Epoch:
    """The solo engine in MindSpore's default mode, PyNative without synchronised launches."""
    epoch = solo(models)
    return _unsynchronised(epoch)


def pynative_page_blocks(models: int) -> Epoch:
    """The same on Page Blocks, an epoch of a replicate of the main job."""
    from lossfleet.runners.training.solo import train_solo

    config = configuration("data=page_blocks", "strategy=focal", f"budget.epochs={SOLO_EPOCHS}")
    progress = train_solo(factory(config.data).replicate(config, seed=0, split=0))
    return _unsynchronised(lambda: next(progress))


def _unsynchronised(epoch: Epoch) -> Epoch:
    """Takes back what the solo engine sets in its first epoch."""
    import mindspore as ms

    epoch()
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=False)
    return epoch


def sgemm(models: int) -> Epoch:
    """Not training: one large float32 matrix product, for the arithmetic limit of this machine."""
    left, right = np.random.default_rng(0).random((2, SGEMM_SIZE, SGEMM_SIZE), np.float32)
    return lambda: left @ right


PEERS: dict[str, Callable[[int], Epoch]] = {
    each.__name__: each
    for each in (
        native,
        fleet,
        torch_stacked,
        torch_stacked_1_thread,
        torch_eager,
        solo,
        pynative,
        pynative_page_blocks,
        sgemm,
    )
}


def peer(name: str) -> Callable[[int], Epoch]:
    """The peer of a name; it takes the number of models."""
    if name in PEERS:
        return PEERS[name]
    if name.startswith("detection"):
        from tests.benchmarks.detection_peers import detection_peer

        return detection_peer(name)
    return image_peer(name)


def main() -> None:
    """Answer until standard input is closed."""
    # Whatever libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if len(sys.argv) > 3:
        # Before the frameworks count the cores for their threads.
        os.sched_setaffinity(0, {int(sys.argv[3])})
    name, models = sys.argv[1], int(sys.argv[2])
    epoch = peer(name)(models)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            epoch()
        print(time.perf_counter() - start, file=answers, flush=True)


if __name__ == "__main__":
    main()
