"""Asymmetric loss: focal losses of their own for the label and for what is not the label, a class at a time."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from mindspore import Tensor, ops

from lossfleet.losses.checks import (
    check_index_labels,
    check_number,
    check_sigmoid,
    check_softmax,
)
from lossfleet.losses.modes import focal_losses
from lossfleet.losses.numerics import (
    at_least_float32,
    label_probability,
    one_hot,
    over_leading_axes,
    sum_of_classes,
    with_class_axis,
)
from lossfleet.losses.softmax import weighted

_SMALLEST = float(np.finfo(np.float32).tiny)


def sigmoid_asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma_positive: Annotated[float, Ge(0)] | Tensor = 0.0,
    gamma_negative: Annotated[float, Ge(0)] | Tensor = 4.0,
    margin: Annotated[float, Ge(0), Le(1)] | Tensor = 0.05,
) -> Tensor:
    """Asymmetric loss of independent yes-or-no labels, unreduced.

        -(1 - p)^g+ log p for label 1, -q^g- log(1 - q) with q = max(p - m, 0) for label 0

    Args:
        logits: any shape, float.
        labels: the shape of logits; 0 or 1, or in [0, 1].
        gamma_positive: g+ of at least 0. A number, or over the leading axes of the losses.
        gamma_negative: g- of at least 0, likewise; both 0 with a margin of 0 are cross-entropy.
        margin: m in [0, 1], likewise: what is predicted to be so improbable is no loss.

    Returns:
        The shape of logits, one loss an element.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Ridnik et al. 2021, Asymmetric loss for multi-label classification, arXiv 2009.14119.
    """
    check_sigmoid(logits, labels, None)
    check_number("gamma_positive", gamma_positive, logits.shape, 0.0, None, False)
    check_number("gamma_negative", gamma_negative, logits.shape, 0.0, None, False)
    check_number("margin", margin, logits.shape, 0.0, 1.0, False)
    logits = at_least_float32(logits)
    axes = logits.ndim
    return _losses(
        logits,
        ops.cast(labels, logits.dtype),
        over_leading_axes(gamma_positive, axes),
        over_leading_axes(gamma_negative, axes),
        over_leading_axes(margin, axes),
    )


def asymmetric_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma_positive: Annotated[float, Ge(0)] | Tensor = 0.0,
    gamma_negative: Annotated[float, Ge(0)] | Tensor = 4.0,
    margin: Annotated[float, Ge(0), Le(1)] | Tensor = 0.05,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Asymmetric loss of one label in C classes, each class being a yes-or-no label of its own, unreduced.

        w_t sum_c of `sigmoid_asymmetric_loss`, label 1 at the class and 0 at all others

    Args:
        logits: (N, C, ...), float; class on axis 1, C at least 2.
        labels: (N, ...) integers in 0..C-1.
        gamma_positive, gamma_negative, margin: as `sigmoid_asymmetric_loss` has them.
        class_weight: (C,) or (N, C), at least 0. None: 1.

    Returns:
        (N, ...), one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Ridnik et al. 2021, Asymmetric loss for multi-label classification, arXiv 2009.14119.
    """
    shape = logits.shape[:1] + logits.shape[2:]
    check_softmax(logits, labels, None)
    check_index_labels(labels, logits)
    check_number("gamma_positive", gamma_positive, shape, 0.0, None, False)
    check_number("gamma_negative", gamma_negative, shape, 0.0, None, False)
    check_number("margin", margin, shape, 0.0, 1.0, False)
    logits = at_least_float32(logits)
    axes = logits.ndim - 1
    losses = _losses(
        logits,
        one_hot(labels, logits),
        with_class_axis(gamma_positive, axes),
        with_class_axis(gamma_negative, axes),
        with_class_axis(margin, axes),
    )
    return weighted(sum_of_classes(losses), logits, labels, class_weight)


def _losses(
    logits: Tensor,
    positive: Tensor,
    gamma_positive: float | Tensor,
    gamma_negative: float | Tensor,
    margin: float | Tensor,
) -> Tensor:
    """The losses of each element, `positive` being how far its label is 1."""
    of_no, rest = label_probability(-logits)[0], label_probability(logits)[1]
    predicted = ops.relu(label_probability(-logits)[1] - margin)
    # -log(1 - q), from q where it is small, else from 1 - q; without a margin it grows for ever.
    small = ops.minimum(predicted, 0.5)
    of_small = 2.0 * ops.atanh(small / (2.0 - small))
    of_large = ops.select(logits * 0.0 + margin > 0.0, -ops.log(ops.maximum(rest + margin, _SMALLEST)), of_no)
    cross_entropy = ops.select(predicted < 0.5, of_small, of_large)
    negative = ops.pow(ops.maximum(predicted, _SMALLEST), gamma_negative) * cross_entropy
    return positive * focal_losses(logits, gamma_positive) + (1.0 - positive) * negative
