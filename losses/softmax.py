"""Losses of one label in C classes: cross-entropy and focal loss of the softmax.

Class on axis 1 and any number of trailing axes; one loss an example, float32 (float64 for float64 logits).
Hyperparameters broadcast over the leading axes of the losses: with logits (K, C, B) of K models and gamma (K,)
each model has its own gamma.

Labels are class indices (N, ...) or a distribution y over the classes (N, C, ...): one-hot, soft or smoothed.
Under a distribution p_t is the probability of each class in turn and the loss its mean,

    sum_c y_c w_c (1 - p_c)^gamma (-log p_c),

what is expected when the label is drawn from y. One-hot labels give what indices give. Label smoothing e
replaces y by (1 - e) y + e / C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import mindspore as ms
from annotated_types import Ge
from mindspore import Tensor, ops

from lossfleet.losses.checks import check_class_weight, check_number, check_softmax
from lossfleet.losses.modes import focal_losses, label_focal_losses
from lossfleet.losses.numerics import (
    at_least_float32,
    label_focal,
    log_odds_of_each,
    of_classes,
    one_hot,
    over_leading_axes,
    sum_of_classes,
    with_class_axis,
)
from lossfleet.losses.stacked import stacked_as, stacked_focal


@stacked_as(stacked_focal, gamma=0.0, times_class_weight=True)
def softmax_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    class_weight: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross-entropy of the softmax, unreduced.

        -w_t log p_t

    Args:
        logits: (N, C, ...), float; class on axis 1, C at least 2.
        labels: (N, ...) integers in 0..C-1, or (N, C, ...) one-hot or soft.
        class_weight: (C,) or (N, C), at least 0. None: 1.
        label_smoothing: in [0, 1]; a number, or over the leading axes of the losses.
        ignore_index: the label whose examples have loss 0. None: no such label.

    Returns:
        (N, ...), one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Good 1952, Rational decisions; label smoothing: Szegedy et al. 2015, arXiv 1512.00567.
    """
    return _focal(logits, labels, 0.0, class_weight, label_smoothing, ignore_index)


@stacked_as(stacked_focal, times_class_weight=True)
def softmax_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: Annotated[float, Ge(0)] | Tensor,
    class_weight: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Focal loss of the softmax, unreduced: cross-entropy with less weight on what is already right.

        -w_t (1 - p_t)^gamma log p_t

    Args:
        logits: (N, C, ...), float; class on axis 1, C at least 2.
        labels: (N, ...) integers in 0..C-1, or (N, C, ...) one-hot or soft.
        gamma: at least 0; 0 is cross-entropy, the paper's choice is 2. A number, or over the leading axes of
            the losses.
        class_weight: (C,) or (N, C), at least 0. None: 1.
        label_smoothing: in [0, 1]; a number, or over the leading axes of the losses.
        ignore_index: the label whose examples have loss 0. None: no such label.

    Returns:
        (N, ...), one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Lin et al. 2017, Focal loss for dense object detection, arXiv 1708.02002, equation 5.
    """
    check_number("gamma", gamma, logits.shape[:1] + logits.shape[2:], 0.0, None, False)
    return _focal(logits, labels, gamma, class_weight, label_smoothing, ignore_index)


def softmax_losses(
    logits: Tensor,
    labels: Tensor,
    of_log_odds: Callable[[Tensor, bool], Tensor],
    class_weight: Tensor | None,
    label_smoothing: float | Tensor,
    ignore_index: int | None,
) -> Tensor:
    """The losses (N, ...) that a function of the log-odds of the label gives, or of every class that may be it.

    Args:
        logits, labels, class_weight, label_smoothing, ignore_index: as `softmax_cross_entropy` has them.
        of_log_odds: takes log-odds (N, ...), or (N, C, ...) with True.
    """

    def of_label(logits: Tensor, labels: Tensor) -> Tensor:
        return of_log_odds(label_focal(logits, labels, 0.0)[1], False)

    return _loss(logits, labels, of_label, of_log_odds, class_weight, label_smoothing, ignore_index)


def _focal(
    logits: Tensor,
    labels: Tensor,
    gamma: float | Tensor,
    class_weight: Tensor | None,
    label_smoothing: float | Tensor,
    ignore_index: int | None,
) -> Tensor:
    def of_label(logits: Tensor, labels: Tensor) -> Tensor:
        return label_focal_losses(logits, labels, over_leading_axes(gamma, labels.ndim))

    def of_log_odds(log_odds: Tensor, of_classes: bool) -> Tensor:
        return focal_losses(log_odds, with_class_axis(gamma, logits.ndim - 1))

    return _loss(logits, labels, of_label, of_log_odds, class_weight, label_smoothing, ignore_index)


def _loss(
    logits: Tensor,
    labels: Tensor,
    of_label: Callable[[Tensor, Tensor], Tensor],
    of_log_odds: Callable[[Tensor, bool], Tensor],
    class_weight: Tensor | None,
    label_smoothing: float | Tensor,
    ignore_index: int | None,
) -> Tensor:
    check_softmax(logits, labels, ignore_index)
    check_class_weight(class_weight, logits.shape)
    check_number("label_smoothing", label_smoothing, logits.shape[:1] + logits.shape[2:], 0.0, 1.0, False)
    logits = at_least_float32(logits)
    are_indices = labels.ndim < logits.ndim
    counts = None
    if are_indices and ignore_index is not None:
        counts = ops.cast(labels != ignore_index, logits.dtype)
        labels = ops.select(labels != ignore_index, labels, ops.zeros_like(labels))
    if are_indices and not isinstance(label_smoothing, Tensor) and label_smoothing == 0:
        losses = weighted(of_label(logits, ops.cast(labels, ms.int32)), logits, labels, class_weight)
    else:
        labels = _distribution(logits, labels, label_smoothing)
        if class_weight is not None:
            labels = labels * of_classes(class_weight, logits)
        losses = sum_of_classes(labels * of_log_odds(log_odds_of_each(logits), True))
    return losses if counts is None else losses * counts


def weighted(losses: Tensor, logits: Tensor, labels: Tensor, class_weight: Tensor | None) -> Tensor:
    """Losses (N, ...) times the class weights, (C,) or (N, C), of their labels."""
    check_class_weight(class_weight, logits.shape)
    if class_weight is None:
        return losses
    labels, class_weight = ops.cast(labels, ms.int32), ops.cast(class_weight, logits.dtype)
    if class_weight.ndim == 1:
        return losses * ops.gather(class_weight, labels, 0)
    of_label = ops.gather_elements(class_weight, 1, labels.reshape(labels.shape[0], -1))
    return losses * of_label.reshape(labels.shape)


def _distribution(logits: Tensor, labels: Tensor, label_smoothing: float | Tensor) -> Tensor:
    """Labels as a distribution (N, C, ...), smoothed."""
    labels = one_hot(labels, logits) if labels.ndim < logits.ndim else ops.cast(labels, logits.dtype)
    smoothing = with_class_axis(label_smoothing, logits.ndim - 1)
    return labels * (1.0 - smoothing) + smoothing * (1.0 / logits.shape[1])
