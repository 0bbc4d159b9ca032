"""Poly-1: cross-entropy or focal loss with more, or less, of the first term of its series."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from mindspore import Tensor, ops

from lossfleet.losses.checks import check_number
from lossfleet.losses.modes import focal_losses
from lossfleet.losses.numerics import label_probability, over_leading_axes, with_class_axis
from lossfleet.losses.softmax import softmax_losses


def poly1_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    epsilon: Annotated[float, Ge(-1)] | Tensor = 1.0,
    gamma: Annotated[float, Ge(0)] | Tensor = 0.0,
    class_weight: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Focal loss plus a multiple of the probability of error, unreduced; gamma 0 is the paper's cross-entropy form.

        w_t ((1 - p_t)^gamma (-log p_t) + epsilon (1 - p_t)^(gamma + 1))

    Args:
        logits: (N, C, ...), float; class on axis 1, C at least 2.
        labels: (N, ...) integers in 0..C-1, or (N, C, ...) one-hot or soft.
        epsilon: at least -1, where the first term is gone; 0 is the focal loss. A number, or over the leading axes
            of the losses.
        gamma: at least 0, likewise.
        class_weight, label_smoothing, ignore_index: as `softmax_focal_loss` has them.

    Returns:
        (N, ...), one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Leng et al. 2022, PolyLoss: a polynomial expansion perspective of classification loss functions,
        arXiv 2204.12511, equations 5 and 7.
    """
    of_losses = logits.shape[:1] + logits.shape[2:]
    check_number("epsilon", epsilon, of_losses, -1.0, None, False)
    check_number("gamma", gamma, of_losses, 0.0, None, False)
    axes = logits.ndim - 1

    def of_log_odds(log_odds: Tensor, of_classes: bool) -> Tensor:
        aligned = with_class_axis if of_classes else over_leading_axes
        power = aligned(gamma, axes)
        error = ops.pow(label_probability(log_odds)[1], power + 1.0)
        return focal_losses(log_odds, power) + aligned(epsilon, axes) * error

    return softmax_losses(logits, labels, of_log_odds, class_weight, label_smoothing, ignore_index)
