"""Losses of independent yes-or-no labels: cross-entropy, focal loss and FL* of the sigmoid.

Labels have the shape of the logits: integers or booleans 0 and 1, or probabilities y in [0, 1]. One loss an
element, float32 (float64 for float64 logits). Hyperparameters broadcast over the leading axes.

With p = sigmoid(x), p_t is p for label 1 and 1 - p for label 0. A soft label gives the mean of both losses,

    y loss(p_t = p) + (1 - y) loss(p_t = 1 - p),

what is expected when the label is drawn with probability y. Label smoothing e replaces y by (1 - e) y + e / 2.
"""

from __future__ import annotations

from collections.abc import Callable

from mindspore import Tensor, ops

from lossfleet.losses.checks import check_number, check_sigmoid
from lossfleet.losses.modes import focal_losses
from lossfleet.losses.numerics import at_least_float32, over_leading_axes


def sigmoid_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float | Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Binary cross-entropy, unreduced.

        -alpha_t log p_t, alpha_t being alpha for label 1 and 1 - alpha for label 0

    Args:
        logits: any shape, float.
        labels: the shape of logits; 0 or 1, or in [0, 1].
        alpha: in [0, 1]; a number, or over the leading axes of the losses. None: no weights.
        label_smoothing: in [0, 1]; likewise.
        ignore_index: the label whose elements have loss 0. None: no such label.

    Returns:
        The shape of logits, one loss an element.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Cox 1958, The regression analysis of binary sequences.
    """

    def loss(log_odds: Tensor) -> Tensor:
        return focal_losses(log_odds, 0.0)

    return _loss(loss, logits, labels, alpha, label_smoothing, ignore_index)


def sigmoid_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float | Tensor,
    alpha: float | Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Binary focal loss, unreduced: the loss of dense detectors.

        -alpha_t (1 - p_t)^gamma log p_t, alpha_t being alpha for label 1 and 1 - alpha for label 0

    Args:
        logits: any shape, float.
        labels: the shape of logits; 0 or 1, or in [0, 1].
        gamma: at least 0; 0 is cross-entropy, the paper's choice is 2. A number, or over the leading axes of
            the losses.
        alpha: in [0, 1], the paper's choice is 0.25; likewise. None: no weights.
        label_smoothing: in [0, 1]; likewise.
        ignore_index: the label whose elements have loss 0. None: no such label.

    Returns:
        The shape of logits, one loss an element.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Lin et al. 2017, Focal loss for dense object detection, arXiv 1708.02002, equation 5.
    """
    check_number("gamma", gamma, logits.shape, 0.0, None, False)
    gamma = over_leading_axes(gamma, logits.ndim)

    def loss(log_odds: Tensor) -> Tensor:
        return focal_losses(log_odds, gamma)

    return _loss(loss, logits, labels, alpha, label_smoothing, ignore_index)


def focal_star_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float | Tensor,
    beta: float | Tensor = 0.0,
    alpha: float | Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """FL*, unreduced: focal loss's shape from a steeper and shifted cross-entropy.

        -alpha_t log(sigmoid(gamma x_t + beta)) / gamma, x_t being x for label 1 and -x for label 0

    Args:
        logits: any shape, float.
        labels: the shape of logits; 0 or 1, or in [0, 1].
        gamma: steepness, above 0; a number, or over the leading axes of the losses. gamma 1 and beta 0 are
            cross-entropy.
        beta: shift, at least 0; likewise. The paper shows gamma 2 with beta 1 and gamma 4 with beta 0.
        alpha: in [0, 1]; likewise. None: no weights.
        label_smoothing: in [0, 1]; likewise.
        ignore_index: the label whose elements have loss 0. None: no such label.

    Returns:
        The shape of logits, one loss an element.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Lin et al. 2017, Focal loss for dense object detection, arXiv 1708.02002, appendix A.
    """
    check_number("gamma", gamma, logits.shape, 0.0, None, True)
    check_number("beta", beta, logits.shape, 0.0, None, False)
    gamma = over_leading_axes(gamma, logits.ndim)
    beta = over_leading_axes(beta, logits.ndim)

    def loss(log_odds: Tensor) -> Tensor:
        return focal_losses(log_odds * gamma + beta, 0.0) / gamma

    return _loss(loss, logits, labels, alpha, label_smoothing, ignore_index)


def _loss(
    loss: Callable[[Tensor], Tensor],
    logits: Tensor,
    labels: Tensor,
    alpha: float | Tensor | None,
    label_smoothing: float | Tensor,
    ignore_index: int | None,
) -> Tensor:
    """The loss of each element, `loss` being a function of the log-odds log(p_t / (1 - p_t))."""
    check_sigmoid(logits, labels, ignore_index)
    check_number("label_smoothing", label_smoothing, logits.shape, 0.0, 1.0, False)
    logits = at_least_float32(logits)
    are_hard = (
        not labels.is_floating_point() and not isinstance(label_smoothing, Tensor) and label_smoothing == 0
    )
    positive = ops.cast(labels, logits.dtype)
    counts = None
    if ignore_index is not None:
        counts = ops.cast(positive != ignore_index, logits.dtype)
        positive = positive * counts
    if alpha is None:
        weight, other_weight = 1.0, 1.0
    else:
        check_number("alpha", alpha, logits.shape, 0.0, 1.0, False)
        weight = over_leading_axes(alpha, logits.ndim)
        other_weight = 1.0 - weight
    if are_hard:
        losses = loss(logits * (2.0 * positive - 1.0))
        if alpha is not None:
            losses = losses * (other_weight + (weight - other_weight) * positive)
    else:
        smoothing = over_leading_axes(label_smoothing, logits.ndim)
        positive = positive * (1.0 - smoothing) + smoothing * 0.5
        losses = positive * weight * loss(logits) + (1.0 - positive) * other_weight * loss(-logits)
    return losses if counts is None else losses * counts
