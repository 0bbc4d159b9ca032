"""Peers that train a small RetinaNet: lossfleet's native core and PyTorch in two layouts of memory.

The work: scenes of 64 x 64 pixels, targets that are computed before, focal loss, smooth L1, AdamW. A peer's name is its
form, its network and the images of a batch, as in `detection_native-small-16`; it has one model.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from lossfleet.runners.detection.anchors import IGNORED
from lossfleet.runners.detection.objective import DetectionLoss
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.detection.targets import Objects, Targets
from lossfleet.runners.detection.training import Training
from lossfleet.runners.images.pixels import Images, standardised
from lossfleet.runners.optimizers.adamw import AdamW
from lossfleet.runners.portable.objects.anchors import Anchors

IMAGES, SIZE, RATE = 64, 64, 1e-3
BATCHES = (8, 16, 32)
THIRDS = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
# Of three levels: 2 anchors a place and 3 classes, and as many anchors as in the paper with 10 classes.
NETWORKS = {
    "small": RetinaNet((1, SIZE, SIZE), 3, Anchors((4, 8, 16), (8, 14, 22), (1.0, 1.26))),
    "nine": RetinaNet((1, SIZE, SIZE), 10, Anchors((4, 8, 16), (6, 12, 24), THIRDS, (0.5, 1.0, 2.0))),
}

Epoch = Callable[[], object]


def training(network: RetinaNet, batch: int) -> Training:
    """An epoch of scenes."""
    from lossfleet.runners.detection.scenes import make_scenes

    scenes = make_scenes(images=IMAGES, size=SIZE, classes=network.classes).scenes
    return Training(
        network,
        DetectionLoss(),
        AdamW(lr=RATE),
        scenes.images,
        Targets.of(scenes, network.anchor_boxes),
        Objects.of(scenes),
        standardised([Images.of(scenes.images)])[0].standardisation,
        network.initial(np.random.default_rng(0)),
        np.arange(IMAGES)[None],
        np.arange(IMAGES, dtype=np.int32)[None],
        np.full((1, IMAGES // batch), RATE),
        batch,
    )


def detection_native(network: str, batch: int) -> Epoch:
    """lossfleet's native core."""
    from lossfleet.runners.training.native.detector import NativeDetector

    detector = NativeDetector(training(NETWORKS[network], batch))
    return lambda: detector.train_epoch(0)


def detection_eager(network: str, batch: int, *, channels_last: bool = False) -> Epoch:
    """PyTorch."""
    import torch
    from torch.nn import functional

    of_network, loss = NETWORKS[network], DetectionLoss()
    made, layout = (
        training(of_network, batch),
        torch.channels_last if channels_last else torch.contiguous_format,
    )
    model = torch_network(of_network).to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    mean, factor = made.standardisation.reshape(2, *of_network.image_shape)
    images = torch.from_numpy((made.images - mean) * factor).to(memory_format=layout)
    labels, targets = map(torch.from_numpy, made.targets.dense(np.arange(IMAGES), of_network.anchor_count))
    there = (labels[..., None] == torch.arange(of_network.classes)).float()
    positive, counts = labels >= 0, (labels != IGNORED).float()[..., None]
    assert loss.alpha is not None
    weight = (loss.alpha * there + (1 - loss.alpha) * (1 - there)) * counts

    def epoch() -> None:
        for start in range(0, IMAGES, batch):
            rows = slice(start, start + batch)
            logits, deltas = model(images[rows])
            here, own = there[rows], positive[rows]
            cross_entropy = functional.binary_cross_entropy_with_logits(logits, here, reduction="none")
            probability = torch.sigmoid(logits)
            away = probability + here - 2 * probability * here
            of_classes = (weight[rows] * away**loss.gamma * cross_entropy).sum()
            of_boxes = functional.smooth_l1_loss(
                deltas[own], targets[rows][own], beta=loss.beta, reduction="sum"
            )
            optimizer.zero_grad()
            ((of_classes + of_boxes) / max(1, int(own.sum()))).backward()
            optimizer.step()

    return epoch


def detection_eager_channels_last(network: str, batch: int) -> Epoch:
    """The same with the channels as the last axis in memory, which is faster for some."""
    return detection_eager(network, batch, channels_last=True)


def torch_network(network: RetinaNet) -> Any:
    """The network in PyTorch's layers."""
    import torch
    from torch import nn
    from torch.nn import functional

    def head(outputs: int) -> Any:
        layers: list[Any] = []
        for _ in range(network.depth):
            layers += [nn.Conv2d(network.width, network.width, 3, 1, 1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Conv2d(network.width, outputs * network.anchors.per_place, 3, 1, 1))

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            channels = (network.image_shape[0], *network.body)
            self.body = nn.ModuleList(nn.Conv2d(*pair, 3, 2, 1) for pair in pairwise(channels))
            levels = network.body[-len(network.sizes) :]
            self.lateral = nn.ModuleList(nn.Conv2d(each, network.width, 1) for each in levels)
            self.classes, self.boxes = head(network.classes), head(4)

        def forward(self, x: Any) -> tuple[Any, Any]:
            stages: list[Any] = []
            levels: list[Any] = []
            for convolution in self.body:
                x = functional.relu(convolution(x))
                stages.append(x)
            for convolution, stage in zip(reversed(self.lateral), reversed(stages), strict=False):
                level = convolution(stage)
                levels.append(level + functional.interpolate(levels[-1], scale_factor=2) if levels else level)
            return self.of_anchors(self.classes, levels, network.classes), self.of_anchors(
                self.boxes, levels, 4
            )

        def of_anchors(self, of_level: Any, levels: list[Any], numbers: int) -> Any:
            found = [
                of_level(level).permute(0, 2, 3, 1).reshape(len(level), -1, numbers)
                for level in reversed(levels)
            ]
            return torch.cat(found, 1)

    return Detector()


FORMS = {each.__name__: each for each in (detection_native, detection_eager, detection_eager_channels_last)}


def detection_peer(name: str) -> Callable[[int], Epoch]:
    """The peer of a name; it takes the number of models, which must be 1."""
    form, network, batch = name.split("-")

    def made(models: int) -> Epoch:
        assert models == 1
        return FORMS[form](network, int(batch))

    return made
