"""Peers that train small convolutional networks: lossfleet's native core and four forms in PyTorch.

The work of a model: 512 grey images of 10 classes, batches of 64, AdamW, focal loss. A peer's name is its form, its
network and the size of the images, as in `image_native-pool-28`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tests.benchmarks.work import configuration

IMAGES, CLASSES, BATCH, GAMMA, RATE = 512, 10, 64, 2.0, 1e-3
STEPS = IMAGES // BATCH
SIZES = (14, 28, 48)
# Channels, and whether each convolution is halved by pooling or by its stride.
NETWORKS: dict[str, tuple[tuple[int, ...], str]] = {
    "pool": ((8, 16), "max_pool"),
    "stride": ((16, 32, 64), "stride"),
}

Epoch = Callable[[], object]


def examples(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, size^2) float32 and labels (N,) int32."""
    random = np.random.default_rng(0)
    labels = random.integers(CLASSES, size=IMAGES).astype(np.int32)
    return random.normal(size=(IMAGES, size * size)).astype(np.float32), labels


def image_native(network: str, size: int, models: int) -> Epoch:
    """lossfleet's native fleet, a thread a core."""
    from lossfleet.runners.data.splits import Split
    from lossfleet.runners.training.native.fleet import NativeFleet
    from lossfleet.runners.training.replicate import Rows, make_replicate
    from lossfleet.runners.training.shape import FleetShape, shape_of

    channels, halving = NETWORKS[network]
    config = configuration(
        "data=digits",
        "strategy=focal",
        f"loss.gamma={GAMMA}",
        f"optimizer.lr={RATE}",
        "model=cnn",
        f"model.channels={list(channels)}".replace(" ", ""),
        f"model.halving={halving}",
        f"batch_size={BATCH}",
        "budget.epochs=1",
        "budget.rungs=1",
    )
    features, labels = examples(size)
    split = Split(
        train_features=features,
        train_labels=labels,
        validation_features=features[:1],
        validation_labels=labels[:1],
        test_features=features[:1],
        test_labels=labels[:1],
        test_rows=np.zeros(1, np.int64),
        class_counts=np.bincount(labels, minlength=CLASSES),
        rarest_class=0,
        draws=IMAGES,
        image_shape=(1, size, size),
    )
    shape = shape_of(
        config, features=size * size, classes=CLASSES, train_rows=IMAGES, image_shape=split.image_shape
    )
    assert isinstance(shape, FleetShape)
    fleet = NativeFleet(shape, slots=models)
    rows, plan = Rows(features, labels), np.arange(IMAGES, dtype=np.int32)[None]
    for slot in range(models):
        fleet.enter(slot, make_replicate(config, split, rows, plan, seed=slot, split_number=0, key=(0,)))

    def epoch() -> np.ndarray:
        fleet.epochs[:] = 0
        return fleet.train_epoch()

    return epoch


def image_eager(network: str, size: int, models: int, *, channels_last: bool = False) -> Epoch:
    """PyTorch, one model after the other."""
    import torch
    from torch.nn import functional

    features, labels = (torch.from_numpy(each) for each in examples(size))
    images = features.reshape(IMAGES, 1, size, size)
    made = [torch_network(network, size) for _ in range(models)]
    if channels_last:
        made = [each.to(memory_format=torch.channels_last) for each in made]
        images = images.to(memory_format=torch.channels_last)
    optimizers = [torch.optim.AdamW(each.parameters(), lr=RATE, fused=True) for each in made]
    labels = labels.long()

    def epoch() -> None:
        for model, optimizer in zip(made, optimizers, strict=True):
            for start in range(0, IMAGES, BATCH):
                rows = slice(start, start + BATCH)
                losses = functional.cross_entropy(model(images[rows]), labels[rows], reduction="none")
                loss = ((1 - torch.exp(-losses)) ** GAMMA * losses).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return epoch


def image_eager_channels_last(network: str, size: int, models: int) -> Epoch:
    """The same with the channels as the last axis in memory, which is faster for some."""
    return image_eager(network, size, models, channels_last=True)


def image_grouped(network: str, size: int, models: int) -> Epoch:
    """PyTorch with the models as groups of one network's convolutions."""
    import torch
    from torch import nn
    from torch.nn import functional

    body, channels, pixels = torch_body(network, size, models)
    head = nn.Conv2d(models * channels, models * CLASSES, pixels, groups=models)
    model = nn.Sequential(*body, head)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    features, labels = (torch.from_numpy(each) for each in examples(size))
    images = features.reshape(IMAGES, 1, size, size).expand(IMAGES, models, size, size)
    labels = labels.long()[:, None].expand(IMAGES, models)

    def epoch() -> None:
        for start in range(0, IMAGES, BATCH):
            rows = slice(start, start + BATCH)
            logits = model(images[rows]).reshape(BATCH * models, CLASSES)
            losses = functional.cross_entropy(logits, labels[rows].reshape(-1), reduction="none")
            loss = ((1 - torch.exp(-losses)) ** GAMMA * losses).sum() / BATCH
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def image_vmap(network: str, size: int, models: int) -> Epoch:
    """PyTorch with one network's function mapped over the models' parameters, which lie side by side."""
    import torch
    from torch.func import functional_call, grad, stack_module_state, vmap
    from torch.nn import functional

    features, labels = (torch.from_numpy(each) for each in examples(size))
    images, labels = features.reshape(IMAGES, 1, size, size), labels.long()
    made = [torch_network(network, size) for _ in range(models)]
    stacked, _ = stack_module_state(made)
    optimizer = torch.optim.AdamW(stacked.values(), lr=RATE, fused=True)
    # The same memory, of which PyTorch's other derivatives see nothing.
    parameters = {name: each.detach() for name, each in stacked.items()}

    def loss(own: dict[str, Any], batch: Any, of_batch: Any) -> Any:
        losses = functional.cross_entropy(functional_call(made[0], own, (batch,)), of_batch, reduction="none")
        return ((1 - torch.exp(-losses)) ** GAMMA * losses).mean()

    gradients = vmap(grad(loss), in_dims=(0, None, None))

    def epoch() -> None:
        for start in range(0, IMAGES, BATCH):
            rows = slice(start, start + BATCH)
            for name, gradient in gradients(parameters, images[rows], labels[rows]).items():
                stacked[name].grad = gradient
            optimizer.step()

    return epoch


def torch_network(network: str, size: int) -> Any:
    """The network in PyTorch's layers."""
    from torch import nn

    body, channels, pixels = torch_body(network, size)
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(channels * pixels**2, CLASSES))


def torch_body(network: str, size: int, models: int = 1) -> tuple[list[Any], int, int]:
    """What is before the head, the models as groups; how many channels of how many rows and columns each gives."""
    from torch import nn

    channels, halving = NETWORKS[network]
    stride, pixels, layers = (2 if halving == "stride" else 1), size, []
    for inputs, outputs in pairwise((1, *channels)):
        layers += [nn.Conv2d(models * inputs, models * outputs, 3, stride, 1, groups=models), nn.ReLU()]
        if halving == "max_pool":
            layers.append(nn.MaxPool2d(2))
        pixels = -(-pixels // 2) if halving == "stride" else pixels // 2
    return layers, channels[-1], pixels


FORMS = {
    each.__name__: each
    for each in (image_native, image_eager, image_eager_channels_last, image_grouped, image_vmap)
}


def image_peer(name: str) -> Callable[[int], Epoch]:
    """The peer of a name; it takes the number of models."""
    form, network, size = name.split("-")
    return lambda models: FORMS[form](network, int(size), models)
