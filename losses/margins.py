"""Cross-entropy with larger margins for rarer classes: LDAM and the vector-scaling loss."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from mindspore import Tensor, ops

from lossfleet.losses.checks import check_class_counts, check_index_labels, check_number
from lossfleet.losses.logit_adjustment import logit_adjusted_loss, logit_adjustment
from lossfleet.losses.numerics import at_least_float32, of_classes, one_hot, with_class_axis
from lossfleet.losses.softmax import softmax_cross_entropy
from lossfleet.losses.stacked import Adjustment, stacked_as, stacked_focal


def label_margins(class_counts: np.ndarray, *, margin: float = 0.5, scale: float = 1.0) -> Adjustment:
    """What the loss makes of the logits, see `ldam_loss`."""
    shares = (class_counts / class_counts.min()) ** -0.25
    return Adjustment(scale=scale, margin=scale * margin * shares)


@stacked_as(stacked_focal, gamma=0.0, times_class_weight=True, adjustment=label_margins)
def ldam_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    margin: Annotated[float, Ge(0)] | Tensor = 0.5,
    scale: Annotated[float, Gt(0)] | Tensor = 1.0,
    class_weight: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross-entropy whose label must win by a margin that is the larger the rarer it is, unreduced.

        -w_t log softmax(s (z - Delta_t at the label))_t, Delta_c = m (n_c / min n)^-1/4

    The paper takes m = 0.5 and s = 30 for logits that are cosines. Those of an unbounded layer have a scale already.

    Args:
        logits: (N, C, ...), float; class on axis 1, C at least 2.
        labels: (N, ...) integers in 0..C-1.
        class_counts: (C,) or (N, C), above 0: training examples of each class.
        margin: m of at least 0, that of the rarest class; 0 with s = 1 is cross-entropy. A number, or over the
            leading axes of the losses.
        scale: s above 0, likewise.
        class_weight, label_smoothing, ignore_index: as `softmax_cross_entropy` has them.

    Returns:
        (N, ...), one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Cao et al. 2019, Learning imbalanced datasets with label-distribution-aware margin loss, arXiv 1906.07413.
    """
    of_losses = logits.shape[:1] + logits.shape[2:]
    check_number("margin", margin, of_losses, 0.0, None, False)
    check_number("scale", scale, of_losses, 0.0, None, True)
    check_class_counts("class_counts", class_counts, logits.shape)
    check_index_labels(labels, logits)
    logits = at_least_float32(logits)
    counts = of_classes(class_counts, logits)
    shares = ops.pow(counts / counts.min(1, keepdims=True), -0.25)
    margins = with_class_axis(margin, logits.ndim - 1) * shares * one_hot(labels, logits)
    return softmax_cross_entropy(
        (logits - margins) * with_class_axis(scale, logits.ndim - 1),
        labels,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


def vector_scaling(class_counts: np.ndarray, *, gamma: float = 0.15, tau: float = 1.0) -> Adjustment:
    """What the loss makes of the logits, see `vs_loss`."""
    return Adjustment(
        scale=(class_counts / class_counts.max()) ** gamma,
        offset=logit_adjustment(class_counts, tau=tau).offset,
    )


@stacked_as(stacked_focal, gamma=0.0, times_class_weight=True, adjustment=vector_scaling)
def vs_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    gamma: Annotated[float, Ge(0)] | Tensor = 0.15,
    tau: Annotated[float, Ge(0)] | Tensor = 1.0,
    class_weight: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross-entropy of logits that are scaled and shifted by how frequent the class is, unreduced.

        -w_t log softmax(Delta z + iota)_t, Delta_c = (n_c / max n)^gamma, iota_c = tau log(n_c / n)

    gamma 0 is logit adjustment, tau 0 the class-dependent temperatures of Ye et al. 2020.

    Args:
        logits: (N, C, ...), float; class on axis 1, C at least 2.
        labels: (N, ...) integers in 0..C-1, or (N, C, ...) one-hot or soft.
        class_counts: (C,) or (N, C), above 0: training examples of each class.
        gamma: at least 0, a number or over the leading axes of the losses; both 0 are cross-entropy.
        tau: at least 0, likewise.
        class_weight, label_smoothing, ignore_index: as `softmax_cross_entropy` has them.

    Returns:
        (N, ...), one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Kini et al. 2021, Label-imbalanced and group-sensitive classification under overparameterization,
        arXiv 2103.01550, equation 2.
    """
    of_losses = logits.shape[:1] + logits.shape[2:]
    check_number("gamma", gamma, of_losses, 0.0, None, False)
    check_class_counts("class_counts", class_counts, logits.shape)
    logits = at_least_float32(logits)
    counts = of_classes(class_counts, logits)
    scale = ops.exp(with_class_axis(gamma, logits.ndim - 1) * ops.log(counts / counts.max(1, keepdims=True)))
    return logit_adjusted_loss(
        logits * scale,
        labels,
        class_counts=class_counts,
        tau=tau,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
