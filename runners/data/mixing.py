"""Mixing: how much of a training example, and of its label, is kept where it is mixed with another one.

A mixing is a function of what it names of

- labels, partner_labels: (n,) int, of the draws of an epoch and of those that they are mixed with;
- class_counts: (C,), the training part before any resampling;
- random: a generator for this epoch.

It returns two arrays (n,) in [0, 1]: the share of the draw's features and the share of its label.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval


def mixup(
    labels: np.ndarray, *, random: np.random.Generator, alpha: Annotated[float, Ge(0)] = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    """The same share of features and label, drawn for each pair.

        x = l x_i + (1 - l) x_j, loss = l loss(y_i) + (1 - l) loss(y_j), l ~ Beta(alpha, alpha)

    Args:
        labels: (n,) int.
        random: draws the shares.
        alpha: at least 0; 0 mixes nothing, 1 draws all shares alike.

    Returns:
        Two arrays (n,).

    Reference:
        Zhang et al. 2018, mixup: beyond empirical risk minimization, arXiv 1710.09412.
    """
    share = random.beta(alpha, alpha, len(labels)) if alpha > 0 else np.ones(len(labels))
    return share, share


def remix(
    labels: np.ndarray,
    *,
    partner_labels: np.ndarray,
    class_counts: np.ndarray,
    random: np.random.Generator,
    alpha: Annotated[float, Ge(0)] = 0.2,
    ratio: Annotated[float, Ge(1)] = 3.0,
    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Mixup whose label is the rarer class's alone where the other class is much more frequent.

    The label is the partner's where n_i / n_j >= ratio and l < threshold, the draw's where n_j / n_i >= ratio and
    1 - l < threshold, and else mixed as the features are.

    Args:
        labels, partner_labels: (n,) int.
        class_counts: (C,).
        random: draws the shares.
        alpha: as in `mixup`.
        ratio: kappa of the paper, at least 1.
        threshold: tau of the paper, in [0, 1]; 0 is mixup.

    Returns:
        Two arrays (n,).

    Reference:
        Chou et al. 2020, Remix: rebalanced mixup, arXiv 2007.03943, equation 5.
    """
    share, _ = mixup(labels, random=random, alpha=alpha)
    relative = class_counts[labels] / class_counts[partner_labels]
    of_label = np.where((relative >= ratio) & (share < threshold), 0.0, share)
    of_label = np.where((relative <= 1 / ratio) & (1 - share < threshold), 1.0, of_label)
    return share, of_label
