"""The shape that replicates of a fleet have in common."""

from __future__ import annotations

from lossfleet.runners.training.shape import FleetShape


def test_steps_round_up():
    def steps(rows: int, batch_size: int) -> int:
        return FleetShape(2, 2, rows, batch_size, (), False, "none", 0.9, 0.999, 1e-8).steps

    assert [steps(64, 64), steps(65, 64), steps(1, 64), steps(127, 64)] == [1, 2, 1, 2]
