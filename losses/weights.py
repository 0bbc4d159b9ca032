"""Class weights from labels or class counts: NumPy float64 in, NumPy float64 out, MindSpore never needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import ArrayLike

Normalization = Literal["mean over examples", "mean over classes", "sum over classes", "none"]
NORMALIZATIONS: tuple[Normalization, ...] = (
    "mean over examples",
    "mean over classes",
    "sum over classes",
    "none",
)


def class_counts(labels: ArrayLike, classes: int) -> np.ndarray:
    """How many examples each class has.

    Args:
        labels: (N,) integers in 0..classes - 1.
        classes: number of classes, at least 1; classes without an example count 0.

    Returns:
        (classes,) int64.

    Raises:
        TypeError: labels are not integers.
        ValueError: a label is out of range, or labels have more than one axis.
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"labels has shape {array.shape}; expected one axis, (N,)")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"labels has dtype {array.dtype}; expected integers")
    if array.size and (array.min() < 0 or array.max() >= classes):
        wrong = array[(array < 0) | (array >= classes)][0]
        raise ValueError(f"labels contains {wrong}; expected 0 to {classes - 1}, for {classes} classes")
    return np.bincount(array.astype(np.int64), minlength=classes)


def power_weights(class_counts: ArrayLike, *, tau: float) -> np.ndarray:
    """Weights that fall with a power of the class count: none at tau = 0, inverse frequency at tau = 1.

        w_c = n_c ** -tau

    Args:
        class_counts: (C,) examples of each class, each above 0.
        tau: at least 0; 0.5 is the inverse square root of Mahajan et al.

    Returns:
        (C,) float64, not normalised.

    Raises:
        ValueError: a count is not above 0, or tau is negative or not finite.

    Reference:
        Mahajan et al. 2018, Exploring the limits of weakly supervised pretraining, arXiv 1805.00932.
    """
    counts = _counts(class_counts)
    if not (np.isfinite(tau) and tau >= 0):
        raise ValueError(f"tau is {tau}; expected a finite number of at least 0")
    return counts**-tau


def effective_number_weights(class_counts: ArrayLike, *, beta: float) -> np.ndarray:
    """Weights by the effective number of examples: none at beta = 0, inverse frequency as beta goes to 1.

        w_c = (1 - beta) / (1 - beta ** n_c)

    Args:
        class_counts: (C,) examples of each class, each above 0.
        beta: in [0, 1); the paper uses 0.9, 0.99, 0.999 and 0.9999.

    Returns:
        (C,) float64, not normalised.

    Raises:
        ValueError: a count is not above 0, or beta is outside [0, 1).

    Reference:
        Cui et al. 2019, Class-balanced loss based on effective number of samples, arXiv 1901.05555.
    """
    counts = _counts(class_counts)
    if not 0 <= beta < 1:
        raise ValueError(f"beta is {beta}; expected a number in [0, 1)")
    if beta == 0:
        return np.ones_like(counts)
    return (1 - beta) / -np.expm1(counts * np.log(beta))


def balanced_weights(class_counts: ArrayLike) -> np.ndarray:
    """scikit-learn's "balanced" weights: inverse frequency, with mean 1 over the examples.

        w_c = N / (C n_c)

    Args:
        class_counts: (C,) examples of each class, each above 0.

    Returns:
        (C,) float64.

    Raises:
        ValueError: a count is not above 0.

    Reference:
        King and Zeng 2001, Logistic regression in rare events data.
    """
    counts = _counts(class_counts)
    return counts.sum() / (len(counts) * counts)


def alpha_weights(alpha: float) -> np.ndarray:
    """The two-class weights of the focal loss paper.

        w = (1 - alpha, alpha)

    Args:
        alpha: weight of class 1, in (0, 1).

    Returns:
        (2,) float64, not normalised.

    Raises:
        ValueError: alpha is outside (0, 1).

    Reference:
        Lin et al. 2017, Focal loss for dense object detection, arXiv 1708.02002, equation 3.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a number in (0, 1)")
    return np.array([1 - alpha, alpha])


def normalize_weights(
    weights: ArrayLike, class_counts: ArrayLike, *, to: Normalization = "mean over examples"
) -> np.ndarray:
    """Scale weights, so that a change of weights is not also a change of the learning rate.

        mean over examples   sum_c n_c w_c = sum_c n_c     the mean loss of equally hard examples is unchanged
        mean over classes    sum_c w_c = C                 as Cui et al. do
        sum over classes     sum_c w_c = 1
        none                 as given

    Args:
        weights: (C,), each finite and at least 0, not all 0.
        class_counts: (C,) examples of each class, each above 0.
        to: the name of the normalisation.

    Returns:
        (C,) float64.

    Raises:
        ValueError: a weight is negative or not finite, lengths differ, or the name is unknown.

    Reference:
        Cui et al. 2019, arXiv 1901.05555, section 4, for the mean over classes.
    """
    counts = _counts(class_counts)
    array = given_weights(weights, classes=len(counts))
    if to not in NORMALIZATIONS:
        raise ValueError(f"to is {to!r}; expected one of {', '.join(map(repr, NORMALIZATIONS))}")
    scale = {
        "mean over examples": counts.sum() / (counts @ array),
        "mean over classes": len(counts) / array.sum(),
        "sum over classes": 1 / array.sum(),
        "none": 1.0,
    }
    return array * scale[to]


def class_weights(
    class_counts: np.ndarray,
    *,
    tau: Annotated[float, Ge(0), Le(3)] | None = None,
    alpha: Annotated[float, Gt(0), Lt(1)] | None = None,
    beta: Annotated[float, Ge(0), Lt(1)] | None = None,
    class_weight: tuple[Annotated[float, Gt(0)], ...] | Literal["balanced"] | None = None,
) -> np.ndarray:
    """The class weights that at most one of four settings says, their mean over the training examples being 1.

    Args:
        class_counts: (C,) int, examples of each class before any resampling, each at least 1.
        tau: weights n_c^-tau, see `power_weights`.
        alpha: two classes, see `alpha_weights`.
        beta: see `effective_number_weights`.
        class_weight: given, (C,); "balanced" is scikit-learn's word for inverse frequency, as tau = 1, see
            `balanced_weights`.

    Returns:
        (C,) float64; 1 for each class where nothing is set.

    Raises:
        ValueError: a value that the named function refuses.
    """
    weights = np.ones(len(class_counts))
    if tau is not None:
        weights = power_weights(class_counts, tau=tau)
    elif alpha is not None:
        weights = alpha_weights(alpha)
    elif beta is not None:
        weights = effective_number_weights(class_counts, beta=beta)
    elif class_weight == "balanced":
        weights = balanced_weights(class_counts)
    elif class_weight is not None:
        weights = np.asarray(class_weight, np.float64)
    return normalize_weights(weights, class_counts)


def given_weights(weights: ArrayLike | Sequence[float], *, classes: int) -> np.ndarray:
    """Weights given by hand, checked.

    Args:
        weights: (classes,), each finite and at least 0, not all 0.
        classes: number of classes.

    Returns:
        (classes,) float64.

    Raises:
        ValueError: the length is wrong, a weight is negative or not finite, or all are 0.
    """
    array = np.asarray(weights, np.float64)
    if array.shape != (classes,):
        raise ValueError(f"weights has shape {array.shape}; expected ({classes},), one weight a class")
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise ValueError(f"weights is {array.tolist()}; expected finite numbers of at least 0, not all 0")
    return array


def _counts(class_counts: ArrayLike) -> np.ndarray:
    counts = np.asarray(class_counts, np.float64)
    if counts.ndim != 1 or not counts.size:
        raise ValueError(f"class_counts has shape {counts.shape}; expected (C,), one count a class")
    if not (np.isfinite(counts).all() and (counts > 0).all()):
        raise ValueError(f"class_counts is {counts.tolist()}; expected an example of each class at least")
    return counts
