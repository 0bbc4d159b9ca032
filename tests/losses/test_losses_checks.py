"""Wrong arguments: every error names the argument, its value and what was expected."""

from __future__ import annotations

import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lossfleet import losses

LOGITS = Tensor(np.zeros((3, 5), np.float32))
LABELS = Tensor([0, 4, 2], ms.int32)
BINARY = Tensor(np.zeros((3, 5), np.float32))
ROW = Tensor(np.arange(5, dtype=np.float32))
BOXES = Tensor(np.array([[0, 0, 1, 1]] * 5, np.float32))
ONES = Tensor(np.ones((3, 5), np.float32))


def focal(logits=LOGITS, labels=LABELS, **arguments):
    return losses.softmax_focal_loss(logits, labels, **{"gamma": 2.0, **arguments})


def binary(logits=LOGITS, labels=BINARY, **arguments):
    return losses.sigmoid_focal_loss(logits, labels, **{"gamma": 2.0, **arguments})


WRONG = {
    "gamma negative": (
        lambda: focal(gamma=-1.0),
        ValueError,
        "gamma is -1; expected a finite number of at least 0",
    ),
    "gamma nan": (lambda: focal(gamma=float("nan")), ValueError, "gamma is nan; expected"),
    "gamma infinite": (lambda: focal(gamma=float("inf")), ValueError, "gamma is inf; expected"),
    "gamma text": (lambda: focal(gamma="2"), TypeError, "gamma is '2' of type str; expected a number"),
    "gamma boolean": (lambda: focal(gamma=True), TypeError, "gamma is True of type bool; expected"),
    "gamma tensor": (lambda: focal(gamma=Tensor([1.0, -2.0, 0.0])), ValueError, "gamma is -2; expected"),
    "gamma shape": (lambda: focal(gamma=Tensor([1.0, 2.0])), ValueError, r"gamma has shape \(2,\); expected"),
    "weight length": (
        lambda: focal(class_weight=ROW[:4]),
        ValueError,
        r"class_weight has shape \(4,\); expected \(5,\)",
    ),
    "weight negative": (lambda: focal(class_weight=-ROW), ValueError, "class_weight contains -1; expected"),
    "weight list": (
        lambda: focal(class_weight=[1.0] * 5),
        TypeError,
        "class_weight is of type list; expected",
    ),
    "label high": (lambda: focal(labels=LABELS + 1), ValueError, "labels contains 5; expected 0 to 4"),
    "label negative": (lambda: focal(labels=LABELS - 1), ValueError, "labels contains -1; expected 0 to 4"),
    "label ignored": (lambda: focal(labels=LABELS - 1, ignore_index=-2), ValueError, "expected 0 to 4 or -2"),
    "label float": (
        lambda: focal(labels=LABELS.float()),
        TypeError,
        "labels has dtype Float32; expected integers",
    ),
    "label shape": (
        lambda: focal(labels=LABELS[:2]),
        ValueError,
        r"labels has shape \(2,\); expected \(3,\)",
    ),
    "label sum": (lambda: focal(labels=ONES), ValueError, "labels sum to 5 over the classes; expected 1"),
    "label probability": (lambda: focal(labels=ONES - 2), ValueError, "labels contains -1; expected"),
    "logits axis": (
        lambda: focal(logits=ROW),
        ValueError,
        r"logits has shape \(5,\); expected \(N, C, ...\)",
    ),
    "logits one class": (
        lambda: focal(logits=ONES[:, :1]),
        ValueError,
        r"logits has shape \(3, 1\); expected",
    ),
    "logits integer": (
        lambda: focal(logits=ONES.int()),
        TypeError,
        "logits has dtype Int32; expected a floating",
    ),
    "logits numpy": (
        lambda: losses.softmax_cross_entropy(np.zeros((3, 5)), LABELS),
        TypeError,
        "logits is of type",
    ),
    "smoothing": (
        lambda: focal(label_smoothing=1.5),
        ValueError,
        "label_smoothing is 1.5; expected .* at most 1",
    ),
    "ignore soft": (
        lambda: focal(labels=ONES / 5, ignore_index=1),
        ValueError,
        "ignore_index is 1; expected None",
    ),
    "ignore type": (lambda: focal(ignore_index=1.0), TypeError, "ignore_index is 1.0; expected an integer"),
    "binary gamma": (lambda: binary(gamma=-0.5), ValueError, "gamma is -0.5; expected"),
    "binary alpha": (lambda: binary(alpha=2.0), ValueError, "alpha is 2; expected .* at most 1"),
    "binary label": (lambda: binary(labels=ONES * 2), ValueError, "labels contains 2.0; expected 0 or 1"),
    "binary shape": (
        lambda: binary(labels=LABELS),
        ValueError,
        r"labels has shape \(3,\); expected .* \(3, 5\)",
    ),
    "star gamma": (
        lambda: losses.focal_star_loss(LOGITS, BINARY, gamma=0.0),
        ValueError,
        "gamma is 0; .* above 0",
    ),
    "star beta": (
        lambda: losses.focal_star_loss(LOGITS, BINARY, gamma=1.0, beta=-1.0),
        ValueError,
        "beta is -1; expected",
    ),
    "keep 0": (lambda: losses.hard_example_mask(ROW, keep=0.0), ValueError, "keep is 0; expected .* above 0"),
    "keep high": (
        lambda: losses.hard_example_mask(ROW, keep=1.1),
        ValueError,
        "keep is 1.1; expected .* at most 1",
    ),
    "keep shape": (lambda: losses.hard_example_mask(ROW, keep=ROW / 5 + 0.1), ValueError, "keep has shape"),
    "valid shape": (
        lambda: losses.hard_example_mask(ROW, keep=0.5, valid=ROW[:4]),
        ValueError,
        "valid has shape",
    ),
    "ratio": (
        lambda: losses.hard_example_mask_ratio(ROW, ROW, negatives_per_positive=0.0),
        ValueError,
        "negatives_per_positive is 0; expected",
    ),
    "boxes shape": (
        lambda: losses.box_iou(ROW),
        ValueError,
        r"boxes has shape \(5,\); expected \(..., N, 4\)",
    ),
    "boxes order": (lambda: losses.box_iou(-BOXES), ValueError, "boxes contains .*; expected x1 <= x2"),
    "boxes count": (
        lambda: losses.nms_mask(ROW[:4], BOXES, iou_threshold=0.5),
        ValueError,
        r"boxes has shape \(5, 4\); expected \(4, 4\)",
    ),
    "iou": (
        lambda: losses.nms_mask(ROW, BOXES, iou_threshold=1.5),
        ValueError,
        "iou_threshold is 1.5; expected",
    ),
    "examples": (
        lambda: losses.ohem_with_nms(ROW, BOXES, iou_threshold=0.5, examples=0),
        ValueError,
        "examples is 0; expected",
    ),
    "reduction": (
        lambda: losses.FocalLoss(reduction="avg"),
        ValueError,
        "reduction is 'avg'; expected one of 'mean'",
    ),
    "reduction type": (
        lambda: losses.FocalLoss(reduction=None),
        TypeError,
        "reduction is None; expected one of",
    ),
    "cell gamma": (lambda: losses.FocalLoss(gamma=-1.0), ValueError, "gamma is -1; expected"),
    "cell weight type": (
        lambda: losses.FocalLoss(weight="balanced"),
        TypeError,
        "weight is of type str; expected",
    ),
    "cell weight axes": (
        lambda: losses.FocalLoss(weight=ONES),
        ValueError,
        r"weight has shape \(3, 5\); expected",
    ),
    "cell weight sign": (lambda: losses.CrossEntropyLoss(-ROW), ValueError, "weight contains -1; expected"),
    "cell weight none": (
        lambda: losses.WeightedCrossEntropyLoss(None),
        TypeError,
        "weight is None; expected",
    ),
    "cell weight length": (
        lambda: losses.FocalLoss(ROW[:4])(LOGITS, LABELS),
        ValueError,
        "class_weight has shape",
    ),
    "cell label": (
        lambda: losses.FocalLoss()(LOGITS, LABELS[:, None] + 1),
        ValueError,
        "labels contains 5; expected",
    ),
    "cell smoothing": (
        lambda: losses.CrossEntropyLoss(label_smoothing=-0.1),
        ValueError,
        "label_smoothing is -0.1",
    ),
    "cell alpha": (lambda: losses.SigmoidFocalLoss(alpha=-0.1), ValueError, "alpha is -0.1; expected"),
    "ohem both": (
        lambda: losses.OHEMLoss(),
        ValueError,
        "keep is None and negatives_per_positive is None; expected",
    ),
    "ohem keep": (lambda: losses.OHEMLoss(keep=2.0), ValueError, "keep is 2; expected"),
    "ohem ratio": (
        lambda: losses.OHEMLoss(negatives_per_positive=-1),
        ValueError,
        "negatives_per_positive is -1",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": -1.0}, "gamma is -1; expected a finite number of at least 0"),
        (
            {"gamma": 2.0, "class_weight": Tensor([1.0, 2.0])},
            r"class_weight has shape \(2,\); expected \(5,\)",
        ),
        ({"gamma": 2.0, "label_smoothing": 2.0}, "label_smoothing is 2; expected"),
    ],
)
def test_what_is_known_when_compiling_is_checked_then(arguments, message):
    def loss(logits, labels):
        return losses.softmax_focal_loss(logits, labels, **arguments)

    with pytest.raises(ValueError, match=message):
        ms.jit(loss)(LOGITS, LABELS)


def test_what_is_right_passes():
    assert focal(gamma=0).shape == (3,)
    for number in (2, np.float64(2.0), np.float32(2.0)):
        assert (
            focal(gamma=number, label_smoothing=number / 4).shape
            == binary(gamma=number, alpha=number / 4).shape[:1]
        )
        assert losses.hard_example_mask(ROW, keep=number / 4).asnumpy().sum() == 3
    assert focal(labels=LABELS.to(ms.int64)).shape == (3,)
    assert focal(labels=LABELS - 1, ignore_index=-1).asnumpy()[0] == 0
    assert focal(labels=(LABELS * 0).to(ms.bool_)).shape == (3,)
    assert binary(labels=BINARY.bool()).shape == (3, 5)


def test_importing_losses_does_not_import_the_rest():
    heavy = (
        "hydra",
        "optuna",
        "mlflow",
        "pandas",
        "sklearn",
        "lossfleet.runners",
        "lossfleet.sweeps",
        "lossfleet.conf",
    )
    code = f"""
import sys
from lossfleet import losses
losses.FocalLoss, losses.ohem_with_nms, losses.softmax_focal_loss
found = set({heavy}) & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)
