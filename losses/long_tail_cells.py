"""The losses for long tails as cells for MindSpore's training loops: logits and labels in, a loss out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mindspore import Tensor, nn

from lossfleet.losses.asymmetric import sigmoid_asymmetric_loss
from lossfleet.losses.checks import check_number, check_reduction
from lossfleet.losses.class_values import ClassValues, class_values, class_weight
from lossfleet.losses.gradient_density import gradient_density_loss
from lossfleet.losses.logit_adjustment import logit_adjusted_loss
from lossfleet.losses.margins import ldam_loss, vs_loss
from lossfleet.losses.poly import poly1_loss
from lossfleet.losses.reductions import reduce_losses


class _ReducedLoss(nn.Cell):
    """An unreduced loss with its settings, reduced."""

    def __init__(self, loss: Callable[..., Tensor], reduction: str, **settings: Any) -> None:
        super().__init__()
        check_reduction(reduction)
        self.loss, self.reduction, self.settings = loss, reduction, settings

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        return reduce_losses(self.loss(logits, labels, **self.settings), self.reduction)


class LogitAdjustedLoss(_ReducedLoss):
    """`logit_adjusted_loss` as a cell; tau 1 is the balanced softmax.

        -w_t log softmax(z + tau log(n_c / n))_t

    Args:
        class_counts: (C,), above 0, a list, array or Tensor.
        tau: at least 0; 0 is cross-entropy.
        weight: (C,), at least 0, likewise. None: 1.
        reduction: "mean" (over the examples), "sum" or "none".
        label_smoothing: in [0, 1].
        ignore_index: the index label whose examples have loss 0. None: no such label.

    Inputs:
        logits: (N, C, ...), float.
        labels: (N, ...) integers, or (N, C, ...) one-hot or soft.

    Outputs:
        A scalar, or (N, ...) if reduction is "none".

    Raises:
        TypeError, ValueError: an argument or input has a wrong type, shape or value; the message says which.
    """

    def __init__(
        self,
        class_counts: ClassValues,
        tau: float = 1.0,
        weight: ClassValues | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
    ) -> None:
        check_number("tau", tau, (), 0.0, None, False)
        super().__init__(
            logit_adjusted_loss,
            reduction,
            class_counts=class_values("class_counts", class_counts, above_zero=True),
            tau=tau,
            class_weight=class_weight(weight),
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )


class LDAMLoss(_ReducedLoss):
    """`ldam_loss` as a cell.

        -w_t log softmax(s (z - Delta_t at the label))_t, Delta_c = m (n_c / min n)^-1/4

    Args:
        class_counts: (C,), above 0, a list, array or Tensor.
        margin: m of at least 0.
        scale: s above 0; the paper's 30 belongs to logits that are cosines.
        weight, reduction, label_smoothing, ignore_index: as `LogitAdjustedLoss` has them.

    Inputs:
        logits: (N, C, ...), float.
        labels: (N, ...) integers.

    Outputs:
        A scalar, or (N, ...) if reduction is "none".

    Raises:
        TypeError, ValueError: an argument or input has a wrong type, shape or value; the message says which.
    """

    def __init__(
        self,
        class_counts: ClassValues,
        margin: float = 0.5,
        scale: float = 1.0,
        weight: ClassValues | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
    ) -> None:
        check_number("margin", margin, (), 0.0, None, False)
        check_number("scale", scale, (), 0.0, None, True)
        super().__init__(
            ldam_loss,
            reduction,
            class_counts=class_values("class_counts", class_counts, above_zero=True),
            margin=margin,
            scale=scale,
            class_weight=class_weight(weight),
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )


class VSLoss(_ReducedLoss):
    """`vs_loss` as a cell.

        -w_t log softmax(Delta z + iota)_t, Delta_c = (n_c / max n)^gamma, iota_c = tau log(n_c / n)

    Args:
        class_counts: (C,), above 0, a list, array or Tensor.
        gamma, tau: at least 0.
        weight, reduction, label_smoothing, ignore_index: as `LogitAdjustedLoss` has them.

    Inputs, Outputs, Raises: as `LogitAdjustedLoss`.
    """

    def __init__(
        self,
        class_counts: ClassValues,
        gamma: float = 0.15,
        tau: float = 1.0,
        weight: ClassValues | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
    ) -> None:
        check_number("gamma", gamma, (), 0.0, None, False)
        check_number("tau", tau, (), 0.0, None, False)
        super().__init__(
            vs_loss,
            reduction,
            class_counts=class_values("class_counts", class_counts, above_zero=True),
            gamma=gamma,
            tau=tau,
            class_weight=class_weight(weight),
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )


class Poly1Loss(_ReducedLoss):
    """`poly1_loss` as a cell.

        w_t ((1 - p_t)^gamma (-log p_t) + epsilon (1 - p_t)^(gamma + 1))

    Args:
        epsilon: at least -1; 0 is the focal loss.
        gamma: at least 0.
        weight, reduction, label_smoothing, ignore_index: as `LogitAdjustedLoss` has them.

    Inputs, Outputs, Raises: as `LogitAdjustedLoss`.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        gamma: float = 0.0,
        weight: ClassValues | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
    ) -> None:
        check_number("epsilon", epsilon, (), -1.0, None, False)
        check_number("gamma", gamma, (), 0.0, None, False)
        super().__init__(
            poly1_loss,
            reduction,
            epsilon=epsilon,
            gamma=gamma,
            class_weight=class_weight(weight),
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )


class AsymmetricLoss(_ReducedLoss):
    """`sigmoid_asymmetric_loss` as a cell, for several labels at once.

        -(1 - p)^g+ log p for label 1, -q^g- log(1 - q) with q = max(p - m, 0) for label 0

    Args:
        gamma_positive: g+ of at least 0.
        gamma_negative: g- of at least 0.
        margin: m in [0, 1].
        reduction: "mean" (over the elements), "sum" or "none".

    Inputs:
        logits: any shape, float.
        labels: the shape of logits; 0 or 1, or in [0, 1].

    Outputs:
        A scalar, or the shape of logits if reduction is "none".

    Raises:
        TypeError, ValueError: an argument or input has a wrong type, shape or value; the message says which.
    """

    def __init__(
        self,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        margin: float = 0.05,
        reduction: str = "mean",
    ) -> None:
        check_number("gamma_positive", gamma_positive, (), 0.0, None, False)
        check_number("gamma_negative", gamma_negative, (), 0.0, None, False)
        check_number("margin", margin, (), 0.0, 1.0, False)
        super().__init__(
            sigmoid_asymmetric_loss,
            reduction,
            gamma_positive=gamma_positive,
            gamma_negative=gamma_negative,
            margin=margin,
        )


class GradientDensityLoss(_ReducedLoss):
    """`gradient_density_loss` (GHM-C) as a cell.

        w_t beta (-log p_t), beta = n / (examples in the bin of g x bins that have any), g = 1 - p_t

    Args:
        bins: at least 1; 1 is cross-entropy.
        weight: (C,), at least 0, a list, array or Tensor. None: 1.
        reduction: "mean" (over the examples), "sum" or "none".

    Inputs:
        logits: (B, C), float.
        labels: (B,) integers.

    Outputs:
        A scalar, or (B,) if reduction is "none".

    Raises:
        TypeError, ValueError: an argument or input has a wrong type, shape or value; the message says which.
    """

    def __init__(self, bins: int = 10, weight: ClassValues | None = None, reduction: str = "mean") -> None:
        super().__init__(gradient_density_loss, reduction, bins=bins, class_weight=class_weight(weight))
