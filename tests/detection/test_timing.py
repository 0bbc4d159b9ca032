"""How long an image takes, by a clock that stands still but for what is detected."""

from __future__ import annotations

import numpy as np
import pytest

from lossfleet.runners.detection import timing


@pytest.mark.parametrize(("images", "at_once"), [(300, 256), (40, 40), (5, 5)])
def test_the_fastest_of_several_calls_counts(images, at_once, monkeypatch):
    clock, seen = [100.0], []

    def detect(given):
        seen.append(len(given))
        # Every third call is disturbed.
        clock[0] += 0.001 + 0.002 * len(given) + 0.05 * (len(seen) % 3 == 0)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    found = timing.speed(detect, np.zeros((images, 1, 4, 4), np.uint8))
    assert found == {
        timing.MILLISECONDS: pytest.approx(3),
        timing.FRAMES: pytest.approx(at_once / (0.001 + 0.002 * at_once)),
    }
    assert (seen[0], seen[-1]) == (1, at_once)
