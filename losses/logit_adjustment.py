"""Cross-entropy of logits that are adjusted by how frequent each class is: logit adjustment and balanced softmax.

What is learned are logits for classes that are equally frequent, so prediction takes them as they are.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge
from mindspore import Tensor, ops

from lossfleet.losses.checks import check_class_counts, check_number
from lossfleet.losses.numerics import at_least_float32, of_classes, with_class_axis
from lossfleet.losses.softmax import softmax_cross_entropy
from lossfleet.losses.stacked import Adjustment, stacked_as, stacked_focal


def logit_adjustment(class_counts: np.ndarray, *, tau: float = 1.0) -> Adjustment:
    """What the loss makes of the logits: an offset tau log(n_c / n), see `logit_adjusted_loss`."""
    return Adjustment(offset=tau * np.log(class_counts / class_counts.sum()))


@stacked_as(stacked_focal, gamma=0.0, times_class_weight=True, adjustment=logit_adjustment)
def logit_adjusted_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    tau: Annotated[float, Ge(0)] | Tensor = 1.0,
    class_weight: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross-entropy of logits to which a multiple of the log-prior of the class is added, unreduced.

        -w_t log softmax(z + tau log(n_c / n))_t

    Args:
        logits: (N, C, ...), float; class on axis 1, C at least 2.
        labels: (N, ...) integers in 0..C-1, or (N, C, ...) one-hot or soft.
        class_counts: (C,) or (N, C), above 0: training examples of each class, or their shares.
        tau: at least 0; 0 is cross-entropy, 1 minimises the balanced error. A number, or over the leading axes
            of the losses.
        class_weight, label_smoothing, ignore_index: as `softmax_cross_entropy` has them.

    Returns:
        (N, ...), one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Menon et al. 2021, Long-tail learning via logit adjustment, arXiv 2007.07314, equation 10.
    """
    check_number("tau", tau, logits.shape[:1] + logits.shape[2:], 0.0, None, False)
    check_class_counts("class_counts", class_counts, logits.shape)
    logits = at_least_float32(logits)
    counts = of_classes(class_counts, logits)
    offset = ops.log(counts / counts.sum(1, keepdims=True))
    return softmax_cross_entropy(
        logits + with_class_axis(tau, logits.ndim - 1) * offset,
        labels,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )


@stacked_as(stacked_focal, gamma=0.0, times_class_weight=True, adjustment=logit_adjustment)
def balanced_softmax_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    class_counts: Tensor,
    class_weight: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    ignore_index: int | None = None,
) -> Tensor:
    """Cross-entropy of a softmax whose classes count as often as they have examples: logit adjustment with tau 1.

        -w_t log(n_t e^z_t / sum_c n_c e^z_c)

    Args: as `logit_adjusted_loss`.

    Returns:
        (N, ...), one loss an example.

    Raises:
        TypeError, ValueError: an argument has a wrong type, shape or value; the message says which.

    Reference:
        Ren et al. 2020, Balanced meta-softmax for long-tailed visual recognition, arXiv 2007.10740.
    """
    return logit_adjusted_loss(
        logits,
        labels,
        class_counts=class_counts,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
