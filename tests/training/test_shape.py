"""The shape that replicates of a fleet have in common."""

from __future__ import annotations

from replicate_runs import config

from lossfleet.runners.training.shape import shape_of


def test_steps_round_up():
    def steps(rows: int, batch_size: int) -> int:
        return shape_of(config(batch_size=batch_size), features=2, classes=3, train_rows=rows).steps

    assert [steps(64, 64), steps(65, 64), steps(1, 64), steps(127, 64)] == [1, 2, 1, 2]
