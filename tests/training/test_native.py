"""The native core against its oracles: the solo engine, the fleet, and definitions in float64."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from replicate_runs import Curves, fleet_curves, shape_of_replicate, solo_curves
from test_fleet import MEMBERS, Key, member, solo

from lossfleet.runners.training.native.fleet import NativeFleet
from lossfleet.runners.training.native.translation import unknown

UNKNOWN = ("label smoothing",)
KNOWN = [name for name in MEMBERS if name not in UNKNOWN]


def native_curves(replicates, slots=None, threads=1) -> Curves:
    fleet = NativeFleet(shape_of_replicate(replicates[0]), slots=slots or len(replicates), threads=threads)
    return fleet_curves(fleet, replicates)


@pytest.mark.parametrize("name", KNOWN)
def test_a_replicate_equals_its_solo_run(name):
    found = native_curves([member((name, 1)), member((name, 0))])
    for turn in (0, 1):
        for curve, expected in zip(found, solo((name, turn)), strict=True):
            np.testing.assert_allclose(curve[1 - turn], expected, rtol=1e-4)
