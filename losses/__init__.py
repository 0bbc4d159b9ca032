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
    from lossfleet.losses.cells import (
        CrossEntropyLoss,
        FocalLoss,
        OHEMLoss,
        SigmoidFocalLoss,
        WeightedCrossEntropyLoss,
    )
    from lossfleet.losses.detection import box_iou, nms_mask, ohem_with_nms
    from lossfleet.losses.mining import hard_example_mask, hard_example_mask_ratio
    from lossfleet.losses.reductions import reduce_losses
    from lossfleet.losses.sigmoid import focal_star_loss, sigmoid_cross_entropy, sigmoid_focal_loss
    from lossfleet.losses.softmax import softmax_cross_entropy, softmax_focal_loss

# Imported when they are asked for: MindSpore takes seconds, and class weights need none.
_MODULES = {
    "CrossEntropyLoss": "cells",
    "FocalLoss": "cells",
    "OHEMLoss": "cells",
    "SigmoidFocalLoss": "cells",
    "WeightedCrossEntropyLoss": "cells",
    "box_iou": "detection",
    "focal_star_loss": "sigmoid",
    "hard_example_mask": "mining",
    "hard_example_mask_ratio": "mining",
    "nms_mask": "detection",
    "ohem_with_nms": "detection",
    "reduce_losses": "reductions",
    "sigmoid_cross_entropy": "sigmoid",
    "sigmoid_focal_loss": "sigmoid",
    "softmax_cross_entropy": "softmax",
    "softmax_focal_loss": "softmax",
}
__all__ = [
    "CrossEntropyLoss",
    "FocalLoss",
    "OHEMLoss",
    "SigmoidFocalLoss",
    "WeightedCrossEntropyLoss",
    "box_iou",
    "focal_star_loss",
    "hard_example_mask",
    "hard_example_mask_ratio",
    "nms_mask",
    "ohem_with_nms",
    "reduce_losses",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_focal_loss",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    # A graph of MindSpore's looks names up here, and calls no function for them.
    globals()[name] = found
    return found
