"""Where the class loss of a dense detector falls: on which anchors of which images, and how unevenly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossfleet.runners.detection.anchors import BACKGROUND
from lossfleet.runners.detection.objective import DetectionLoss
from lossfleet.runners.detection.retinanet import RetinaNet
from lossfleet.runners.metrics.evaluation import LOSS_SHARES

PERCENT = np.linspace(0, 1, 101)
# What the maps of a replicate are of: the loss that it was trained by, and cross-entropy beside focal loss.
OWN, CROSS_ENTROPY = "own", "cross_entropy"


def loss_shares(losses: np.ndarray) -> np.ndarray:
    """What share of a loss the easiest anchors have: sorted, normalised and cumulated.

        y(k / N) = (l_1 + ... + l_k) / (l_1 + ... + l_N) with l_1 <= ... <= l_N, linear in between

    Args:
        losses: (N,) of at least 0, not all 0.

    Returns:
        (101,), at each percent of the anchors.

    Reference: Lin et al. 2017, arXiv 1708.02002, Figure 4.
    """
    cumulated = np.concatenate([[0], np.sort(losses.astype(np.float64)).cumsum()])
    return np.interp(PERCENT, np.linspace(0, 1, len(cumulated)), cumulated / cumulated[-1])


def shares_by_gamma(
    loss: DetectionLoss, logits: np.ndarray, labels: np.ndarray
) -> dict[tuple[str, float], np.ndarray]:
    """`loss_shares` of the anchors of objects and of those on background, for each gamma of the paper's Figure 4.

    Args:
        loss: whose alpha weighs the classes; nothing is mined.
        logits: (N, A, C), of one detector.
        labels: (N, A), as `Targets.dense` has them; ignored anchors count nowhere.

    Returns:
        By the keys of LOSS_SHARES, without those of a kind that no anchor is of.
    """
    kinds = {"positives": labels >= 0, "negatives": labels == BACKGROUND}
    found = {}
    for kind, gamma in LOSS_SHARES:
        of_kind = kinds[kind]
        if of_kind.any():
            losses = replace(loss, gamma=gamma).of_anchors(
                logits[of_kind].astype(np.float64), labels[of_kind]
            )
            found[kind, gamma] = loss_shares(losses)
    return found


def loss_map(network: RetinaNet, losses: np.ndarray) -> np.ndarray:
    """The loss at each place of an image: that of all anchors there, of every level.

    A place of a coarser level covers several of the finest, which get equal parts of its loss; the sum stays.

    Args:
        network: that the anchors are of.
        losses: (A,), of each anchor of an image.

    Returns:
        (rows, columns) of the finest level.
    """
    rows, columns = (np.arange(size) for size in network.sizes[0])
    total, first = np.zeros(network.sizes[0]), 0
    for stride, (height, width) in zip(network.anchors.strides, network.sizes, strict=True):
        end = first + height * width * network.anchors.per_place
        places = losses[first:end].reshape(height, width, -1).sum(-1)
        row, column = (each * network.anchors.strides[0] // stride for each in (rows, columns))
        # Those at the edges have fewer places of the finest level in them.
        covered = np.outer(np.bincount(row), np.bincount(column))
        total += (places / covered)[np.ix_(row, column)]
        first = end
    return total


def mapped(network: RetinaNet, losses: np.ndarray, labels: np.ndarray) -> tuple[float, list[list[float]]]:
    """The share of an image's loss that falls on the anchors of objects, and its `loss_map`, rounded, as JSON has them.

    Args:
        network: that the anchors are of.
        losses, labels: (A,), of each anchor.
    """
    share = losses[labels >= 0].sum() / max(losses.sum(), np.finfo(float).tiny)
    rows = loss_map(network, losses).tolist()
    return round(float(share), 3), [[float(f"{loss:.3g}") for loss in row] for row in rows]
