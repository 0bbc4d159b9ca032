"""The cases of public test suites and papers (loss_cases.json), and a list of those that do not apply."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lossfleet.losses import (
    WeightedCrossEntropyLoss,
    focal_star_loss,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_focal_loss,
)

CASES = {case["id"]: case for case in json.loads(Path(__file__).with_name("loss_cases.json").read_text())}

DO_NOT_APPLY = {
    **{
        name: "losses/ has no poly loss; its epsilon 0, which is cross-entropy, is tested"
        for name, case in CASES.items()
        if case["fn"] == "poly1" and case["params"]["epsilon"] != 0
    },
    "mmpretrain_asl_clip": "losses/ has no probability shift; the asymmetric loss without one is tested",
    "mmpretrain_asl_softmax0": "losses/ has no sum of binary terms over softmax probabilities",
    **{
        name: "a metric, or class weights: tested with runners/metrics.py and in test_weights.py"
        for name, case in CASES.items()
        if name.startswith(("sk_", "imblearn_"))
    },
}


@pytest.fixture(autouse=True, scope="module")
def _synchronous():
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)


def floats(values: Any) -> Tensor:
    return Tensor(np.asarray(values, np.float32))


def integers(values: Any) -> Tensor:
    return Tensor(np.asarray(values, np.int32))


def logit(p: Any) -> np.ndarray:
    """What Keras makes of probabilities, clipped as there."""
    p = np.clip(np.asarray(p, np.float64), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def per_example(losses: np.ndarray, sample_weight: Any) -> np.ndarray:
    """Losses times a weight for each example, on the first axis; their mean is over all, as in OpenMMLab."""
    if sample_weight is None:
        return losses
    weight = np.asarray(sample_weight)
    return losses * weight.reshape(weight.shape + (1,) * (losses.ndim - weight.ndim))


def sigmoid_focal(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    losses = sigmoid_focal_loss(
        floats(inputs["logits"]), floats(inputs["targets"]), gamma=params["gamma"], alpha=params["alpha"]
    )
    return per_example(losses.asnumpy(), inputs.get("sample_weight"))


def sigmoid_focal_grad(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    labels = floats(inputs["targets"])

    def total(logits: Tensor) -> Tensor:
        return sigmoid_focal_loss(logits, labels, gamma=params["gamma"], alpha=params["alpha"]).sum()

    return ms.grad(total)(floats(inputs["logits"])).asnumpy()


def ratio(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    logits, labels = floats(logit(inputs["p"])), integers(inputs["targets"])
    focal = sigmoid_focal_loss(logits, labels, gamma=params["gamma"], alpha=params["alpha"])
    return (sigmoid_cross_entropy(logits, labels) / focal).asnumpy()


def focal_star_ratio(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    logits, labels = floats(inputs["logits"]), integers(inputs["targets"])
    return (sigmoid_cross_entropy(logits, labels) / focal_star_loss(logits, labels, **params)).asnumpy()


def monai(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    """MONAI's mean is over the classes too; its alpha weighs the foreground, 1 - alpha class 0."""
    logits, labels = floats(inputs["logits"]), integers(inputs["labels_index"])[:, 0]
    classes = logits.shape[1]
    if params.get("use_softmax"):
        alpha = params.get("alpha")
        weight = None if alpha is None else floats([1 - alpha] + [alpha] * (classes - 1))
        return (
            softmax_focal_loss(logits, labels, gamma=params["gamma"], class_weight=weight).asnumpy() / classes
        )
    one_hot = np.moveaxis(np.eye(classes)[labels.asnumpy()], -1, 1)
    return sigmoid_focal_loss(logits, floats(one_hot), gamma=params["gamma"]).asnumpy()


def monai_onehot(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    assert params["include_background"] is False
    logits, labels = floats(inputs["logits"])[:, 1:], floats(inputs["targets"])[:, 1:]
    return sigmoid_focal_loss(logits, labels, gamma=params["gamma"]).asnumpy()


def keras_binary(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    scores = inputs["y_pred"] if params["from_logits"] else logit(inputs["y_pred"])
    alpha = params["alpha"] if params["apply_class_balancing"] else None
    losses = sigmoid_focal_loss(
        floats(scores), integers(inputs["y_true"]), gamma=params["gamma"], alpha=alpha
    )
    return per_example(losses.asnumpy().mean(-1), inputs["sample_weight"])


def keras_categorical(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    scores = inputs["y_pred"]
    if not params["from_logits"]:
        probabilities = np.asarray(scores, np.float64)
        scores = np.log(np.clip(probabilities / probabilities.sum(-1, keepdims=True), 1e-7, 1))
    losses = params["alpha"] * softmax_focal_loss(
        floats(scores),
        integers(inputs["y_true"]),
        gamma=params["gamma"],
        label_smoothing=params["label_smoothing"],
    )
    return per_example(losses.asnumpy(), inputs["sample_weight"])


def bce(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    return sigmoid_cross_entropy(floats(inputs["logits"]), floats(inputs["targets"])).asnumpy()


def weighted_bce(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    losses = bce(inputs, params) * np.asarray(params["class_weight"] or 1.0)
    return per_example(losses, inputs["sample_weight"])


def weighted_ce(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    logits, labels = floats(inputs["logits"]), integers(inputs["labels"])
    weight = None if params["class_weight"] is None else floats(params["class_weight"])
    losses = softmax_cross_entropy(logits, labels, class_weight=weight)
    if weight is not None:
        # The cell has the convention of these cases: the mean is over the examples.
        mean = WeightedCrossEntropyLoss(weight)(logits, labels).asnumpy()
        np.testing.assert_allclose(mean, losses.asnumpy().mean(), rtol=1e-6)
    return per_example(losses.asnumpy(), inputs["sample_weight"])


def smoothed(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    return softmax_cross_entropy(
        floats(inputs["logits"]), integers(inputs["labels"]), label_smoothing=params["eps"]
    ).asnumpy()


def smoothed_and_rescaled(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    """Classy Vision's smoothing (y + e/K) / (1 + e), as soft labels."""
    logits = floats(inputs["logits"])
    classes = logits.shape[1]
    soft = (np.eye(classes)[inputs["labels"]] + params["eps"] / classes) / (1 + params["eps"])
    return softmax_cross_entropy(logits, floats(soft)).asnumpy()


def asymmetric(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    """A gamma for each label, as a Tensor of the shape of the losses."""
    labels = np.asarray(inputs["targets"])
    gamma = floats(np.where(labels == 1, params["gamma_pos"], params["gamma_neg"]))
    return sigmoid_focal_loss(floats(inputs["logits"]), floats(labels), gamma=gamma).asnumpy()


def poly(inputs: dict[str, Any], params: dict[str, Any]) -> np.ndarray:
    assert params["epsilon"] == 0
    return softmax_cross_entropy(floats(inputs["logits"]), floats(inputs["targets"])).asnumpy()


FORMULAS: dict[str, Callable[[dict[str, Any], dict[str, Any]], np.ndarray]] = {
    "sigmoid_focal": sigmoid_focal,
    "sigmoid_focal_grad": sigmoid_focal_grad,
    "ratio": ratio,
    "focal_star_ratio": focal_star_ratio,
    "monai": monai,
    "monai_onehot": monai_onehot,
    "keras_binary": keras_binary,
    "keras_categorical": keras_categorical,
    "bce": bce,
    "weighted_bce": weighted_bce,
    "weighted_ce_meanN": weighted_ce,
    "ls_ce": smoothed,
    "ls_cv": smoothed_and_rescaled,
    "asl": asymmetric,
    "poly1": poly,
}


@pytest.mark.parametrize("name", [name for name in CASES if name not in DO_NOT_APPLY])
def test_case(name):
    case = CASES[name]
    got = FORMULAS[case["fn"]](case["inputs"], case["params"])
    expected = np.asarray(case["expected"])
    if expected.ndim == 0:
        got = got.sum() if case["params"].get("reduction") == "sum" and case["fn"] == "sigmoid_focal" else got
        if case["fn"].startswith("keras") and case["params"]["reduction"] == "sum":
            got = got.sum()
        got = got.mean()
    # Published values are rounded, and the inputs here are float32.
    np.testing.assert_allclose(got, expected, atol=case["atol"], rtol=case["rtol"] + 3e-6)


def test_every_case_is_tested_or_listed_with_its_reason():
    assert len(CASES) == 76
    assert len(DO_NOT_APPLY) == 7 + 2 + 7
    tested = {case["fn"] for name, case in CASES.items() if name not in DO_NOT_APPLY}
    assert tested == set(FORMULAS)
