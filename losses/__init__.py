"""Losses for imbalanced classification in MindSpore.

Functions return one loss an example; their hyperparameters are keywords and broadcast over the leading axes.
Cells reduce them and go where MindSpore's own losses go.

| loss | formula | paper | when to use it |
|------|---------|-------|----------------|
| `softmax_cross_entropy`, `CrossEntropyLoss` | -log p_t | | first, and as the baseline of all others |
| `softmax_cross_entropy(class_weight=...)`, `WeightedCrossEntropyLoss` | -w_t log p_t | King and Zeng 2001 | rare classes matter more than their number says; weights from `lossfleet.losses.weights` |
| `softmax_focal_loss`, `FocalLoss` | -w_t (1 - p_t)^gamma log p_t | arXiv 1708.02002 | many easy examples drown the few hard ones |
| `sigmoid_cross_entropy` | -alpha_t log p_t | | several labels may hold at once |
| `sigmoid_focal_loss`, `SigmoidFocalLoss` | -alpha_t (1 - p_t)^gamma log p_t | arXiv 1708.02002 | dense detection, multi-label with rare labels |
| `focal_star_loss` | -alpha_t log(sigmoid(gamma x_t + beta)) / gamma | arXiv 1708.02002, appendix A | as the focal loss, with a gradient that is a plain sigmoid |
| `logit_adjusted_loss`, `LogitAdjustedLoss` | -w_t log softmax(z + tau log pi)_t | arXiv 2007.07314 | long tails, every class matters equally: the balanced error is what it minimises |
| `balanced_softmax_loss` | the same with tau 1 | arXiv 2007.10740 | likewise, with nothing to search |
| `ldam_loss`, `LDAMLoss` | -w_t log softmax(s (z - Delta_t at the label))_t | arXiv 1906.07413 | rare classes overfit; with class weights from late in training on (`defer`) |
| `vs_loss`, `VSLoss` | -w_t log softmax(Delta z + iota)_t | arXiv 2103.01550 | long tails in networks that fit everything; contains the two before |
| `poly1_loss`, `Poly1Loss` | w_t ((1 - p_t)^gamma (-log p_t) + epsilon (1 - p_t)^(gamma + 1)) | arXiv 2204.12511 | a little more, or less, weight on what is wrong; one number to search |
| `asymmetric_loss` of classes, `sigmoid_asymmetric_loss`, `AsymmetricLoss` of labels | -(1 - p)^g+ log p, -q^g- log(1 - q) | arXiv 2009.14119 | several labels at once, most of them absent |
| `gradient_density_loss`, `GradientDensityLoss` | -w_t beta log p_t | arXiv 1811.05181 | easy examples and outliers both crowd the batch |
| `hard_example_mask`, `OHEMLoss(keep=...)` | mean of the ceil(keep n) highest losses | arXiv 1604.03540 | train on the hardest part of a batch alone; clean labels |
| `hard_example_mask_ratio`, `OHEMLoss(negatives_per_positive=...)` | mean over all positives and k hardest negatives for each | arXiv 1512.02325 | two classes, a flood of negatives |
| `ohem_with_nms` | the highest losses among boxes that do not overlap | arXiv 1604.03540 | dense detection, before the focal loss |

p_t is the probability of the true class; w_t and alpha_t are its weight. Under soft or smoothed labels the loss
is the mean over the classes that may be true: see `lossfleet.losses.softmax` and `lossfleet.losses.sigmoid`.

    >>> import mindspore as ms
    >>> from lossfleet.losses import FocalLoss
    >>> logits = ms.Tensor([[0.8, 1.4], [0.5, 0.9], [1.2, 0.9]])
    >>> FocalLoss(weight=ms.Tensor([1.0, 2.0]), gamma=2.0)(logits, ms.Tensor([1, 1, 0]))
    Tensor(shape=[], dtype=Float32, value= 0.125166)
"""  # noqa: E501

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossfleet.losses.asymmetric import asymmetric_loss, sigmoid_asymmetric_loss
    from lossfleet.losses.cells import (
        CrossEntropyLoss,
        FocalLoss,
        OHEMLoss,
        SigmoidFocalLoss,
        WeightedCrossEntropyLoss,
    )
    from lossfleet.losses.detection import box_iou, nms_mask, ohem_with_nms
    from lossfleet.losses.gradient_density import gradient_density_loss
    from lossfleet.losses.logit_adjustment import balanced_softmax_loss, logit_adjusted_loss
    from lossfleet.losses.long_tail_cells import (
        AsymmetricLoss,
        GradientDensityLoss,
        LDAMLoss,
        LogitAdjustedLoss,
        Poly1Loss,
        VSLoss,
    )
    from lossfleet.losses.margins import ldam_loss, vs_loss
    from lossfleet.losses.mining import hard_example_mask, hard_example_mask_ratio
    from lossfleet.losses.poly import poly1_loss
    from lossfleet.losses.reductions import reduce_losses
    from lossfleet.losses.sigmoid import focal_star_loss, sigmoid_cross_entropy, sigmoid_focal_loss
    from lossfleet.losses.softmax import softmax_cross_entropy, softmax_focal_loss

# Imported when they are asked for: MindSpore takes seconds, and class weights need none.
_MODULES = {
    "AsymmetricLoss": "long_tail_cells",
    "CrossEntropyLoss": "cells",
    "FocalLoss": "cells",
    "GradientDensityLoss": "long_tail_cells",
    "LDAMLoss": "long_tail_cells",
    "LogitAdjustedLoss": "long_tail_cells",
    "OHEMLoss": "cells",
    "Poly1Loss": "long_tail_cells",
    "SigmoidFocalLoss": "cells",
    "VSLoss": "long_tail_cells",
    "WeightedCrossEntropyLoss": "cells",
    "asymmetric_loss": "asymmetric",
    "balanced_softmax_loss": "logit_adjustment",
    "box_iou": "detection",
    "focal_star_loss": "sigmoid",
    "gradient_density_loss": "gradient_density",
    "hard_example_mask": "mining",
    "hard_example_mask_ratio": "mining",
    "ldam_loss": "margins",
    "logit_adjusted_loss": "logit_adjustment",
    "nms_mask": "detection",
    "ohem_with_nms": "detection",
    "poly1_loss": "poly",
    "reduce_losses": "reductions",
    "sigmoid_asymmetric_loss": "asymmetric",
    "sigmoid_cross_entropy": "sigmoid",
    "sigmoid_focal_loss": "sigmoid",
    "softmax_cross_entropy": "softmax",
    "softmax_focal_loss": "softmax",
    "vs_loss": "margins",
}
__all__ = [
    "AsymmetricLoss",
    "CrossEntropyLoss",
    "FocalLoss",
    "GradientDensityLoss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "OHEMLoss",
    "Poly1Loss",
    "SigmoidFocalLoss",
    "VSLoss",
    "WeightedCrossEntropyLoss",
    "asymmetric_loss",
    "balanced_softmax_loss",
    "box_iou",
    "focal_star_loss",
    "gradient_density_loss",
    "hard_example_mask",
    "hard_example_mask_ratio",
    "ldam_loss",
    "logit_adjusted_loss",
    "nms_mask",
    "ohem_with_nms",
    "poly1_loss",
    "reduce_losses",
    "sigmoid_asymmetric_loss",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "vs_loss",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    # A graph of MindSpore's looks names up here, and calls no function for them.
    globals()[name] = found
    return found
