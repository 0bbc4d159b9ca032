"""The losses and samplers to choose from: one dataclass each, told apart by `name`."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import check_fields, fixed_name, setting, show

WEIGHT_FIELDS = ("tau", "alpha", "beta", "class_weight")


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy."""

    name: str = fixed_name("cross_entropy")


@dataclass(frozen=True)
class WeightedCrossEntropy:
    """Class-weighted cross-entropy: at most one of tau, alpha, beta, class_weight says how classes weigh."""

    name: str = fixed_name("weighted_cross_entropy")
    tau: float | None = setting(float, None, at_least=0, at_most=3, example="1")
    alpha: float | None = setting(float, None, above=0, below=1, example="0.25")
    beta: float | None = setting(float, None, at_least=0, below=1, example="0.999")
    class_weight: tuple[float, ...] | None = setting(float, None, above=0, many=True, example="[1,10]")

    def __post_init__(self) -> None:
        check_fields(self, "loss.")
        _check_one_weighting(self)


@dataclass(frozen=True)
class Ohem:
    """Online hard example mining: the mean of the hardest part of each batch."""

    name: str = fixed_name("ohem")
    keep: float = setting(float, 0.5, above=0, at_most=1)
    negatives_per_positive: float | None = setting(float, None, above=0, example="3")

    def __post_init__(self) -> None:
        check_fields(self, "loss.")


@dataclass(frozen=True)
class Focal:
    """Focal loss, with the class weights of WeightedCrossEntropy."""

    name: str = fixed_name("focal")
    gamma: float = setting(float, 2.0, at_least=0)
    tau: float | None = setting(float, None, at_least=0, at_most=3, example="1")
    alpha: float | None = setting(float, None, above=0, below=1, example="0.25")
    beta: float | None = setting(float, None, at_least=0, below=1, example="0.999")
    class_weight: tuple[float, ...] | None = setting(float, None, above=0, many=True, example="[1,10]")

    def __post_init__(self) -> None:
        check_fields(self, "loss.")
        _check_one_weighting(self)


def _check_one_weighting(loss: WeightedCrossEntropy | Focal) -> None:
    given = [name for name in WEIGHT_FIELDS if getattr(loss, name) is not None]
    if len(given) > 1:
        raise UserError(
            what=" and ".join(f"loss.{name}={show(getattr(loss, name))}" for name in given)
            + " both weigh the classes",
            expected=f"at most one of {', '.join(f'loss.{name}' for name in WEIGHT_FIELDS)}",
            hint=f"keep loss.{given[0]} and set loss.{given[1]}=null",
        )


@dataclass(frozen=True)
class Shuffle:
    """Each training example once an epoch."""

    name: str = fixed_name("shuffle")


@dataclass(frozen=True)
class Oversample:
    """Every class drawn equally often; the rare ones repeat."""

    name: str = fixed_name("oversample")


@dataclass(frozen=True)
class Undersample:
    """Every class drawn equally often from as many examples as the rarest class has."""

    name: str = fixed_name("undersample")


@dataclass(frozen=True)
class ClassBalanced:
    """Classes drawn in proportion to n_c^(1 - exponent): 0 is uniform over examples, 1 over classes."""

    name: str = fixed_name("class_balanced")
    exponent: float = setting(float, 1.0, at_least=0, at_most=1)

    def __post_init__(self) -> None:
        check_fields(self, "sampler.")


@dataclass(frozen=True)
class Smote:
    """Synthetic examples of the rare classes between nearest neighbours."""

    name: str = fixed_name("smote")
    neighbors: int = setting(int, 5, at_least=1)

    def __post_init__(self) -> None:
        check_fields(self, "sampler.")


Loss = CrossEntropy | WeightedCrossEntropy | Ohem | Focal
Sampler = Shuffle | Oversample | Undersample | ClassBalanced | Smote
LOSSES: dict[str, type] = {
    "cross_entropy": CrossEntropy,
    "weighted_cross_entropy": WeightedCrossEntropy,
    "ohem": Ohem,
    "focal": Focal,
}
SAMPLERS: dict[str, type] = {
    "shuffle": Shuffle,
    "oversample": Oversample,
    "undersample": Undersample,
    "class_balanced": ClassBalanced,
    "smote": Smote,
}
