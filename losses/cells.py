"""The losses as cells for MindSpore's training loops: logits and labels in, a loss out.

They go into `nn.TrainOneStepCell`, `Model.train` and `ms.value_and_grad`, in PyNative and compiled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mindspore import Tensor, nn, ops

from lossfleet.losses.checks import check_number, check_reduction
from lossfleet.losses.class_values import ClassValues, class_values, class_weight
from lossfleet.losses.mining import hard_example_mask, hard_example_mask_ratio
from lossfleet.losses.reductions import reduce_losses
from lossfleet.losses.sigmoid import sigmoid_focal_loss
from lossfleet.losses.softmax import softmax_cross_entropy, softmax_focal_loss


class FocalLoss(nn.Cell):
    """Focal loss with the signature and shapes of `nn.FocalLoss`, which MindSpore deprecated in 2.8.

        -w_t (1 - p_t)^gamma log p_t

    The numbers are those of `nn.FocalLoss` but for these:

    | where                              | nn.FocalLoss                | here                               | why |
    |------------------------------------|-----------------------------|------------------------------------|-----|
    | one-hot labels, mean and sum       | 1/C of index labels' mean   | what index labels give             | the same labels are the same loss |
    | reduction "none", or "sum" with trailing axes | averages over positions first | one loss a position, and their sum | that is what the names say |
    | reduction "none", one-hot labels   | a loss for each class       | one loss an example                | as with index labels |
    | confident predictions              | off by 1.4e-6, 0 or negative from a margin of 14 | right to 1e-5 down to 1e-30 | log p_t comes from the other classes |
    | gamma < 1, p_t rounding to 1       | NaN gradients               | finite gradients                   | (1 - p_t)^gamma comes from the other classes |
    | labels (N, ...) without class axis | an error                    | accepted                           | as nn.CrossEntropyLoss has them |
    | gamma negative or not finite, weight negative or of a wrong length, label out of range | passes | ValueError | it is a mistake |
    | gamma an int                       | TypeError                   | accepted                           | 2 is 2.0 |
    | float16 logits                     | computed in float16         | computed and returned in float32   | e^12 is out of float16's range |

    Args:
        weight: (C,), at least 0, a list, array or Tensor. None: 1.
        gamma: at least 0; 0 is cross-entropy.
        reduction: "mean" (over the examples, not over their weights), "sum" or "none".
        label_smoothing: in [0, 1].
        ignore_index: the index label whose examples have loss 0; they count in the mean. None: no such label.

    Inputs:
        logits: (N, C), (N, C, L) or (N, C, H, W), float.
        labels: (N, 1, ...) or (N, ...) integers in 0..C-1, or (N, C, ...) one-hot or soft.

    Outputs:
        A scalar, or (N, ...) if reduction is "none".

    Raises:
        TypeError, ValueError: an argument or input has a wrong type, shape or value; the message says which.

    Reference:
        Lin et al. 2017, Focal loss for dense object detection, arXiv 1708.02002.
    """  # noqa: E501

    def __init__(
        self,
        weight: ClassValues | None = None,
        gamma: float = 2.0,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        check_number("gamma", gamma, (), 0.0, None, False)
        check_number("label_smoothing", label_smoothing, (), 0.0, 1.0, False)
        check_reduction(reduction)
        self.weight = class_weight(weight)
        self.gamma = gamma
        self.reduction = reduction
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        if labels.ndim == logits.ndim and labels.shape[1] == 1:
            labels = labels.squeeze(1)
        losses = softmax_focal_loss(
            logits,
            labels,
            gamma=self.gamma,
            class_weight=self.weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
        )
        return reduce_losses(losses, self.reduction)


class CrossEntropyLoss(nn.Cell):
    """Cross-entropy with the signature of `nn.CrossEntropyLoss`, right in both tails.

        -w_t log p_t

    As there, "mean" divides by the sum of the weights of the labels that are not ignored if labels are indices,
    and by the number of examples if they are probabilities.

    Args:
        weight: (C,), at least 0, a list, array or Tensor. None: 1.
        ignore_index: the index label whose examples do not count.
        reduction: "mean", "sum" or "none".
        label_smoothing: in [0, 1].

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
        weight: ClassValues | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        check_number("label_smoothing", label_smoothing, (), 0.0, 1.0, False)
        check_reduction(reduction)
        self.weight = class_weight(weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        if labels.ndim == logits.ndim:
            losses = softmax_cross_entropy(
                logits, labels, class_weight=self.weight, label_smoothing=self.label_smoothing
            )
            return reduce_losses(losses, self.reduction)
        losses = softmax_cross_entropy(
            logits,
            labels,
            class_weight=self.weight,
            label_smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
        )
        counts = ops.cast(labels != self.ignore_index, losses.dtype)
        if self.weight is not None:
            labels = ops.select(labels != self.ignore_index, labels, ops.zeros_like(labels))
            counts = counts * ops.cast(ops.gather(self.weight, labels, 0), losses.dtype)
        return reduce_losses(losses, self.reduction, weight=counts)


class WeightedCrossEntropyLoss(nn.Cell):
    """Cross-entropy with class weights whose mean is over the examples.

        mean_n of -w_y log p_t

    With weights of mean 1 over the training set (`weights.normalize_weights`) it has the scale of plain
    cross-entropy, whatever classes a batch holds: use it where losses are compared at one learning rate.

    Args:
        weight: (C,), at least 0, a list, array or Tensor.
        reduction: "mean", "sum" or "none".

    Inputs:
        logits: (N, C, ...), float.
        labels: (N, ...) integers, or (N, C, ...) one-hot or soft.

    Outputs:
        A scalar, or (N, ...) if reduction is "none".

    Raises:
        TypeError, ValueError: an argument or input has a wrong type, shape or value; the message says which.
    """

    def __init__(self, weight: ClassValues, reduction: str = "mean") -> None:
        super().__init__()
        if weight is None:
            raise TypeError("weight is None; expected one for each class (C,), or use CrossEntropyLoss")
        check_reduction(reduction)
        self.weight = class_weight(weight)
        self.reduction = reduction

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        return reduce_losses(softmax_cross_entropy(logits, labels, class_weight=self.weight), self.reduction)


class OHEMLoss(nn.Cell):
    """The mean of any unreduced loss over the hardest examples of the batch.

        sum of the kept losses / number of the kept

    Give either `keep` or `negatives_per_positive`. All positions of the batch are one pool.

    Args:
        loss: a cell or function of logits and labels that returns one loss an example, (N, ...).
            None: `softmax_cross_entropy`.
        keep: fraction in (0, 1] of the examples to keep; 1 is the plain mean.
        negatives_per_positive: above 0; keep all examples of label 1 and so many of the hardest others for each.
            Labels have the shape of the losses then.

    Inputs:
        logits, labels: what the loss takes.

    Outputs:
        A scalar.

    Raises:
        TypeError, ValueError: an argument or input has a wrong type, shape or value; the message says which.

    Reference:
        Shrivastava et al. 2016, Training region-based object detectors with online hard example mining,
        arXiv 1604.03540.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        keep: float | None = None,
        negatives_per_positive: float | None = None,
    ) -> None:
        super().__init__()
        if (keep is None) == (negatives_per_positive is None):
            raise ValueError(
                f"keep is {keep} and negatives_per_positive is {negatives_per_positive}; expected exactly one of them"
            )
        if keep is not None:
            check_number("keep", keep, (), 0.0, 1.0, True)
        else:
            check_number("negatives_per_positive", negatives_per_positive, (), 0.0, None, True)
        self.loss = softmax_cross_entropy if loss is None else loss
        self.keep = keep
        self.negatives_per_positive = negatives_per_positive

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = self.loss(logits, labels).reshape(-1)
        if self.keep is not None:
            mask = hard_example_mask(losses, keep=self.keep)
        else:
            mask = hard_example_mask_ratio(
                losses, labels.reshape(-1), negatives_per_positive=self.negatives_per_positive
            )
        return (losses * mask).sum() / mask.sum()


class SigmoidFocalLoss(nn.Cell):
    """Binary focal loss of independent yes-or-no labels, as dense detectors train it.

        -alpha_t (1 - p_t)^gamma log p_t

    Args:
        alpha: weight of label 1 in [0, 1], that of label 0 being 1 - alpha; or one for each label (C,), a list, array
            or Tensor, the labels being on axis 1. None: no weights.
        gamma: at least 0.
        reduction: "mean" (over the elements), "sum" or "none".

    Inputs:
        logits: any shape, float; (N, C, ...) if alpha is (C,).
        labels: the shape of logits; 0 or 1, or in [0, 1].

    Outputs:
        A scalar, or the shape of logits if reduction is "none".

    Raises:
        TypeError, ValueError: an argument or input has a wrong type, shape or value; the message says which.

    Reference:
        Lin et al. 2017, Focal loss for dense object detection, arXiv 1708.02002.
    """

    def __init__(
        self, alpha: float | ClassValues | None = 0.25, gamma: float = 2.0, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.alpha_of_label: Tensor | None = None
        if isinstance(alpha, Tensor | np.ndarray | list | tuple):
            self.alpha_of_label, alpha = class_values("alpha", alpha), None
            check_number("alpha", self.alpha_of_label, self.alpha_of_label.shape, 0.0, 1.0, False)
        elif alpha is not None:
            check_number("alpha", alpha, (), 0.0, 1.0, False)
        check_number("gamma", gamma, (), 0.0, None, False)
        check_reduction(reduction)
        self.alpha = alpha
        self.gamma = gamma
        self.reduction = reduction

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        alpha = self.alpha
        if self.alpha_of_label is not None:
            if logits.ndim < 2 or logits.shape[1] != self.alpha_of_label.shape[0]:
                raise ValueError(
                    f"alpha has shape {self.alpha_of_label.shape}; expected one number for each label on axis 1 of "
                    f"logits {logits.shape}"
                )
            alpha = ops.broadcast_to(self.alpha_of_label, logits.shape[:2])
        losses = sigmoid_focal_loss(logits, labels, gamma=self.gamma, alpha=alpha)
        return reduce_losses(losses, self.reduction)
