"""What a sweep may spend and where it leaves its traces: the budget of each study, the size of fleets, MLflow."""

from __future__ import annotations

from dataclasses import dataclass

from lossfleet.conf.errors import UserError
from lossfleet.conf.rules import check_fields, setting

LARGEST_SEED = 2**31 - 1
# The splits of the final replicates come after all of the search.
FIRST_FINAL_SPLIT = 1000


@dataclass(frozen=True)
class Budget:
    """How much each study may train.

    Replicate r of a trial trains on seed `search_seeds[r]` and split r; final replicate r on seed
    `final_seeds[r]` and split 1000 + r. No seed serves both, so the final evaluation is fresh.
    A study asks for no further trial once it has `trials`, has searched for `seconds`, or has not improved
    for `patience` finished trials; trials under way then end as usual. With `checkpoint=best` a replicate is what it
    was at the rung at which the searched metric of its validation part was best, else what it is in the end.
    """

    trials: int = setting(int, 40, at_least=1)
    replicates: int = setting(int, 3, at_least=1)
    epochs: int = setting(int, 30, at_least=1)
    rungs: int = setting(int, 10, at_least=1)
    checkpoint: str = setting(str, "last", choices=("last", "best"))
    final_replicates: int = setting(int, 10, at_least=1)
    seconds: float | None = setting(float, None, above=0, example="600")
    patience: int | None = setting(int, None, at_least=1, example="20")
    search_seeds: tuple[int, ...] = setting(int, tuple(range(5)), at_least=0, at_most=LARGEST_SEED, many=True)
    final_seeds: tuple[int, ...] = setting(
        int, tuple(range(100, 110)), at_least=0, at_most=LARGEST_SEED, many=True
    )

    def __post_init__(self) -> None:
        check_fields(self, "budget.")
        if self.rungs > self.epochs:
            raise UserError(
                what=f"budget.rungs is {self.rungs}",
                expected=f"at most budget.epochs={self.epochs}",
                hint=f"write budget.rungs={self.epochs} or raise budget.epochs",
            )
        for count, seeds in (("replicates", "search_seeds"), ("final_replicates", "final_seeds")):
            given = getattr(self, seeds)
            if getattr(self, count) > len(given):
                raise UserError(
                    what=f"budget.{count} is {getattr(self, count)}",
                    expected=f"at most the {len(given)} seeds of budget.{seeds}",
                    hint=f"write budget.{count}={len(given)} or add seeds to budget.{seeds}",
                )
            self._check_unique(f"budget.{seeds}", given)
        shared = sorted(set(self.search_seeds) & set(self.final_seeds))
        if shared:
            raise UserError(
                what=f"budget.search_seeds and budget.final_seeds share {shared}",
                expected="different seeds for the search and the final evaluation",
                hint=f"take {shared[0]} out of budget.final_seeds",
            )

    @staticmethod
    def _check_unique(path: str, seeds: tuple[int, ...]) -> None:
        repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if repeated:
            raise UserError(
                what=f"{path} repeats {repeated}",
                expected="each seed once",
                hint=f"write {path}={str(sorted(set(seeds))).replace(' ', '')}",
            )

    def final_pairs(self) -> list[tuple[int, int]]:
        """The seed and split of each final replicate."""
        seeds = self.final_seeds[: self.final_replicates]
        return [(seed, FIRST_FINAL_SPLIT + number) for number, seed in enumerate(seeds)]

    def rung_epochs(self) -> tuple[int, ...]:
        """The equally spaced epochs at which trials report; the last is `epochs`."""
        return tuple(self.epochs * rung // self.rungs for rung in range(1, self.rungs + 1))


@dataclass(frozen=True)
class Fleet:
    """How many replicates train together, in how many processes, and whether kernels are fused.

    null leaves it to the engine's rule.
    """

    slots: int | None = setting(int, None, at_least=1, example="32")
    processes: int | None = setting(int, None, at_least=1, example="2")
    fused: bool | None = setting(bool, None, example="true")

    def __post_init__(self) -> None:
        check_fields(self, "fleet.")


@dataclass(frozen=True)
class Tracking:
    """Where MLflow records; null takes MLFLOW_TRACKING_URI (else mlflow.db here) and the data's name."""

    uri: str | None = setting(str, None, example="sqlite:///mlflow.db")
    experiment: str | None = setting(str, None, example="my_experiment")
    enabled: bool = setting(bool, True, example="false")

    def __post_init__(self) -> None:
        check_fields(self, "tracking.")
