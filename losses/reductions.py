"""From one loss an example to the number that is trained on."""

from __future__ import annotations

from mindspore import Tensor

from lossfleet.losses.checks import check_reduction


def reduce_losses(losses: Tensor, reduction: str, *, weight: Tensor | None = None) -> Tensor:
    """Reduces losses.

        none   the losses as they are
        sum    their sum
        mean   their sum divided by their number, or by the sum of the weights if there are any

    Args:
        losses: any shape, already multiplied by the weights.
        reduction: "mean", "sum" or "none".
        weight: the shape of losses; what each loss counts in the mean. A mean over weights that are all 0 is 0.

    Returns:
        A scalar, or losses.

    Raises:
        TypeError, ValueError: reduction is no such name.
    """
    check_reduction(reduction)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if weight is None:
        return losses.mean()
    total = weight.sum()
    return losses.sum() / (total + (total == 0))
