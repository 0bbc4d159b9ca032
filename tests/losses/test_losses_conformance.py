"""What every loss promises: one row of LOSSES is one loss, and it inherits every test here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import losses_oracle as oracle
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lossfleet import losses

# Distinct primes, so that a silent broadcast cannot fit.
MODELS, CLASSES, BATCH, PIXELS = 3, 5, 7, 2


@dataclass(frozen=True)
class Loss:
    """A loss, its oracle, and hyperparameters of each of the models."""

    name: str
    function: Callable[..., Tensor]
    oracle: Callable[..., np.ndarray]
    by_model: dict[str, list[Any]] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    labels: str = "index"
    # Where logits are adjusted, what kernels make of the adjustment is rounded too.
    rounding: float = 3e-7

    def make(self, *shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Logits and labels; `shape` is that of the logits."""
        random = np.random.default_rng(seed)
        logits = random.normal(size=shape).astype(np.float32) * 3
        if self.labels == "binary":
            return logits, random.integers(0, 2, shape).astype(np.int32)
        if self.labels == "probability":
            return logits, random.random(shape).astype(np.float32)
        labels = random.integers(0, shape[1], shape[:1] + shape[2:]).astype(np.int32)
        if self.labels == "soft":
            shares = random.random(shape) * oracle.one_hot(labels, shape[1]) + random.random(shape) / 7
            return logits, (shares / shares.sum(1, keepdims=True)).astype(np.float32)
        return logits, oracle.one_hot(labels, shape[1]).astype(
            np.float32
        ) if self.labels == "one-hot" else labels

    def hyperparameters(self, model: int | None = None) -> dict[str, Any]:
        """Arrays over the models, or those of one model."""
        chosen = {
            name: np.asarray(values if model is None else values[model], np.float32)
            for name, values in self.by_model.items()
        }
        return {**chosen, **self.fixed}

    def __call__(self, logits: Any, labels: Any, **hyperparameters: Any) -> Tensor:
        as_tensors = {
            name: Tensor(value) if isinstance(value, np.ndarray) else value
            for name, value in hyperparameters.items()
        }
        return self.function(as_tensor(logits), as_tensor(labels), **as_tensors)


GAMMAS = [0.0, 0.7, 2.0]
WEIGHTS = [[0.5, 1, 2, 3, 5], [1, 1, 1, 1, 1], [3, 0, 0.1, 1, 2]]

COUNTS = [[50, 7, 3, 11, 20], [1, 1, 1, 1, 1], [2, 300, 40, 7, 90]]

LOSSES = [
    Loss("softmax_ce", losses.softmax_cross_entropy, oracle.softmax_focal),
    Loss(
        "softmax_ce_weighted",
        losses.softmax_cross_entropy,
        oracle.softmax_focal,
        by_model={"class_weight": WEIGHTS},
    ),
    Loss("softmax_ce_ignore", losses.softmax_cross_entropy, oracle.softmax_focal, fixed={"ignore_index": 2}),
    Loss(
        "softmax_ce_smooth",
        losses.softmax_cross_entropy,
        oracle.softmax_focal,
        by_model={"label_smoothing": [0.0, 0.1, 0.9]},
    ),
    Loss("softmax_ce_soft", losses.softmax_cross_entropy, oracle.softmax_focal, labels="soft"),
    Loss("softmax_focal", losses.softmax_focal_loss, oracle.softmax_focal, by_model={"gamma": GAMMAS}),
    Loss(
        "softmax_focal_weighted_smooth_ignore",
        losses.softmax_focal_loss,
        oracle.softmax_focal,
        by_model={"gamma": GAMMAS, "class_weight": WEIGHTS},
        fixed={"label_smoothing": 0.1, "ignore_index": 1},
    ),
    Loss(
        "softmax_focal_one_hot",
        losses.softmax_focal_loss,
        oracle.softmax_focal,
        by_model={"gamma": GAMMAS, "class_weight": WEIGHTS},
        labels="one-hot",
    ),
    Loss(
        "softmax_focal_soft",
        losses.softmax_focal_loss,
        oracle.softmax_focal,
        {"gamma": GAMMAS},
        labels="soft",
    ),
    Loss(
        "logit_adjusted_weighted",
        losses.logit_adjusted_loss,
        oracle.vector_scaling,
        by_model={"class_counts": COUNTS, "tau": [0.0, 1.0, 1.7], "class_weight": WEIGHTS},
        fixed={"ignore_index": 1},
        rounding=3e-6,
    ),
    Loss(
        "ldam_smooth",
        losses.ldam_loss,
        oracle.ldam,
        by_model={"class_counts": COUNTS, "margin": [0.0, 0.5, 1.0], "scale": [1.0, 1.0, 3.0]},
        fixed={"label_smoothing": 0.1},
        rounding=3e-6,
    ),
    Loss(
        "vector_scaling",
        losses.vs_loss,
        oracle.vector_scaling,
        by_model={"class_counts": COUNTS, "gamma": [0.0, 0.15, 0.5], "tau": [0.5, 1.0, 1.7]},
        rounding=3e-6,
    ),
    Loss(
        "softmax_poly1_weighted",
        losses.poly1_loss,
        oracle.poly1,
        by_model={"epsilon": [0.0, 2.5, -0.5], "gamma": GAMMAS, "class_weight": WEIGHTS},
    ),
    Loss(
        "sigmoid_asymmetric",
        losses.sigmoid_asymmetric_loss,
        oracle.asymmetric,
        by_model={
            "gamma_positive": [0.0, 1.0, 0.5],
            "gamma_negative": [0.0, 4.0, 1.5],
            "margin": [0.0, 0.05, 0.2],
        },
        labels="binary",
        rounding=3e-6,
    ),
    Loss("sigmoid_ce", losses.sigmoid_cross_entropy, oracle.sigmoid_focal, labels="binary"),
    Loss(
        "sigmoid_ce_alpha_smooth",
        losses.sigmoid_cross_entropy,
        oracle.sigmoid_focal,
        by_model={"alpha": [0.0, 0.25, 1.0], "label_smoothing": [0.3, 0.0, 0.1]},
        labels="binary",
    ),
    Loss(
        "sigmoid_focal", losses.sigmoid_focal_loss, oracle.sigmoid_focal, {"gamma": GAMMAS}, labels="binary"
    ),
    Loss(
        "sigmoid_focal_alpha_ignore",
        losses.sigmoid_focal_loss,
        oracle.sigmoid_focal,
        by_model={"gamma": GAMMAS, "alpha": [0.25, 0.5, 0.9]},
        fixed={"ignore_index": 1},
        labels="binary",
    ),
    Loss(
        "sigmoid_focal_soft",
        losses.sigmoid_focal_loss,
        oracle.sigmoid_focal,
        {"gamma": GAMMAS},
        labels="probability",
    ),
    Loss(
        "focal_star",
        losses.focal_star_loss,
        oracle.focal_star,
        by_model={"gamma": [1.0, 2.0, 4.0], "beta": [0.0, 1.0, 0.5]},
        fixed={"alpha": 0.25},
        labels="binary",
    ),
]


def as_tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else Tensor(values)


@pytest.fixture(params=LOSSES, ids=lambda loss: loss.name)
def loss(request) -> Loss:
    return request.param


pytestmark = pytest.mark.usefixtures("pynative")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return ms.jit(function)


SHAPES = [(MODELS, CLASSES), (MODELS, CLASSES, BATCH), (MODELS, CLASSES, BATCH, PIXELS)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_oracle(loss, shape):
    logits, labels = loss.make(*shape)
    hyperparameters = loss.hyperparameters()
    np.testing.assert_allclose(
        loss(logits, labels, **hyperparameters).asnumpy(),
        loss.oracle(logits, labels, **hyperparameters),
        rtol=1e-5,
        atol=1e-30,
    )


def test_members_differ_and_equal_each_alone(loss):
    logits, labels = loss.make(MODELS, CLASSES, BATCH)
    together = loss(logits, labels, **loss.hyperparameters()).asnumpy()
    for model in range(MODELS):
        alone = loss(logits[[model]], labels[[model]], **loss.hyperparameters(model))
        # Vector kernels round the ends of a buffer in another way than its middle.
        np.testing.assert_allclose(alone.asnumpy()[0], together[model], rtol=loss.rounding)
    if loss.by_model:
        same = loss(logits[[0] * MODELS], labels[[0] * MODELS], **loss.hyperparameters()).asnumpy()
        assert len(np.unique(same, axis=0)) == MODELS


@pytest.mark.parametrize("pynative", ["kernels"], indirect=True)
def test_compiled_equals_eager_with_gradient_and_second_derivative(loss):
    logits, labels = loss.make(MODELS, CLASSES, BATCH)
    hyperparameters = {
        name: Tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in loss.hyperparameters().items()
    }
    direction = Tensor(np.random.default_rng(1).normal(size=logits.shape).astype(np.float32))
    labels_tensor, function = Tensor(labels), loss.function

    def total(logits, labels):
        losses = function(logits, labels, **hyperparameters)
        return (losses * losses).sum()

    def slope(logits, labels):
        return (ms.grad(total)(logits, labels) * direction).sum()

    def gradient(logits, labels):
        return ms.grad(total)(logits, labels)

    def second(logits, labels):
        return ms.grad(slope)(logits, labels)

    along, bent = (
        each(Tensor(logits), labels_tensor).asnumpy().astype(np.float64) for each in (gradient, second)
    )

    def both(logits, labels):
        return gradient(logits, labels), second(logits, labels)

    graphs = compiled(both)(Tensor(logits), labels_tensor)
    for graph, eager in zip(graphs, (along, bent), strict=True):
        np.testing.assert_allclose(graph.asnumpy(), eager, rtol=1e-5, atol=2e-6 * np.abs(eager).max())

    def oracle_total(logits):
        return (loss.oracle(logits, labels, **loss.hyperparameters()) ** 2).sum()

    # Second differences of float64 carry about 1e-16 / 1e-3^2 of the value.
    wide, step = logits.astype(np.float64), 1e-3 * direction.asnumpy()
    ahead, here, behind = (oracle_total(wide + shift) for shift in (step, 0 * step, -step))
    np.testing.assert_allclose((along * step).sum(), (ahead - behind) / 2, rtol=1e-4, atol=1e-9 * here)
    np.testing.assert_allclose(
        (bent * step).sum() * 1e-3, ahead - 2 * here + behind, rtol=1e-3, atol=1e-9 * here
    )


def test_every_partial_derivative_equals_the_finite_difference(loss):
    logits, labels = loss.make(MODELS, CLASSES, BATCH, seed=2)

    def total(logits):
        return loss(logits, labels, **loss.hyperparameters()).sum()

    gradient = ms.grad(total)(Tensor(logits)).asnumpy()
    expected = np.zeros(logits.shape)
    for index in np.ndindex(*logits.shape):
        step = np.zeros(logits.shape)
        step[index] = 1e-5
        ahead, behind = (
            loss.oracle(logits + s, labels, **loss.hyperparameters()).sum() for s in (step, -step)
        )
        expected[index] = (ahead - behind) / 2e-5
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_nan_in_one_model_leaves_the_others(loss):
    logits, labels = loss.make(MODELS, CLASSES, BATCH)
    broken = logits.copy()
    broken[1] = np.nan

    def total(logits):
        return loss(logits, labels, **loss.hyperparameters()).sum()

    for function in (lambda x: loss(x, labels, **loss.hyperparameters()), ms.grad(total)):
        before, after = function(Tensor(logits)).asnumpy(), function(Tensor(broken)).asnumpy()
        np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert np.isnan(loss(broken, labels, **loss.hyperparameters()).asnumpy()[1]).any()


@pytest.mark.parametrize(
    ("pynative", "dtype"), [("kernels", ms.float16), ("graphs", ms.bfloat16)], indirect=["pynative"]
)
def test_half_precision_is_computed_in_float32(loss, dtype):
    logits, labels = loss.make(MODELS, CLASSES, BATCH)
    half = Tensor(logits * 100).astype(dtype)
    values = loss(half, labels, **loss.hyperparameters())
    assert values.dtype == ms.float32
    # Whether a number too small for float32 becomes 0 depends on the thread.
    np.testing.assert_allclose(
        values.asnumpy(),
        loss(half.astype(ms.float32), labels, **loss.hyperparameters()).asnumpy(),
        rtol=0,
        atol=np.finfo(np.float32).tiny,
    )

    def total(logits):
        return loss(logits, labels, **loss.hyperparameters()).sum()

    gradient = ms.grad(total)(half)
    assert gradient.dtype == dtype
    assert np.isfinite(gradient.float().asnumpy()).all()


def test_float64_stays_float64(loss):
    logits, labels = loss.make(MODELS, CLASSES, BATCH)
    values = loss(logits.astype(np.float64), labels, **loss.hyperparameters(0))
    assert values.dtype == ms.float64
    expected = loss.oracle(logits, labels, **loss.hyperparameters(0))
    np.testing.assert_allclose(values.asnumpy(), expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(("shift", "seed"), [(97, 3), (-41, 5)])
def test_softmax_losses_do_not_see_a_shift_of_the_logits(shift, seed):
    for loss in (loss for loss in LOSSES if loss.name.startswith("softmax")):
        logits, labels = loss.make(MODELS, CLASSES, BATCH, seed=seed)
        # Whole numbers, so that the shifted logits are exact.
        logits = np.round(logits)
        np.testing.assert_allclose(
            loss(logits + np.float32(shift), labels, **loss.hyperparameters()).asnumpy(),
            loss(logits, labels, **loss.hyperparameters()).asnumpy(),
            rtol=1e-6,
        )


@pytest.mark.parametrize("seed", [3, 5])
def test_losses_follow_a_permutation_of_the_classes(seed):
    order = np.random.default_rng(seed).permutation(CLASSES)
    for loss in (loss for loss in LOSSES if loss.labels in ("soft", "one-hot")):
        logits, labels = loss.make(MODELS, CLASSES, BATCH, seed=seed)
        hyperparameters = loss.hyperparameters()
        permuted = dict(hyperparameters)
        if "class_weight" in permuted:
            permuted["class_weight"] = permuted["class_weight"][:, order]
        np.testing.assert_allclose(
            loss(logits[:, order], labels[:, order], **permuted).asnumpy(),
            loss(logits, labels, **hyperparameters).asnumpy(),
            rtol=1e-5,
        )
