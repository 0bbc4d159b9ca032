"""How many slots a fleet gets, and what a sweep says of its speed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runners.records import EngineRecord
from runners.shape import FleetShape
from sweeps.engines import slots
from sweeps.engines.slots import bytes_of_slot, number_of_slots
from sweeps.speed import speed_metrics, speed_sentence

SHAPE = FleetShape(
    features=10,
    classes=5,
    train_rows=3277,
    batch_size=64,
    widths=(32, 32),
    dropout=False,
    mining="none",
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
)
ENGINES = [
    EngineRecord(["ce"], [12, 3], 100, 90, {"compile": 1.0, "train": 7.0}, 1000.0, 1010.0),
    EngineRecord(["focal"], [24], 300, 290, {"compile": 0.5, "train": 9.0, "search": 0.25}, 1002.0, 1014.0),
]


@pytest.mark.parametrize(("replicates", "expected"), [(1, 1), (48, 48), (256, 256), (10_000, 256)])
def test_a_fleet_has_a_slot_for_each_replicate_up_to_what_is_fast(replicates, expected):
    assert number_of_slots(SHAPE, replicates=replicates, evaluated_rows=1094) == expected


def test_a_large_model_gets_as_many_slots_as_fit_into_memory(monkeypatch):
    large = replace(SHAPE, widths=(4096, 4096))
    # 4097 squared weights in twelve buffers of four bytes are 0.8 GB.
    assert 0.8e9 < bytes_of_slot(large, 1094) < 1.2e9
    monkeypatch.setattr(slots, "memory", lambda: 24 * 2**30)
    assert 4 <= number_of_slots(large, replicates=48, evaluated_rows=1094) <= 8
    monkeypatch.setattr(slots, "memory", lambda: 2**30)
    assert number_of_slots(large, replicates=48, evaluated_rows=1094) == 1


def test_speed_adds_up_the_engines():
    metrics = speed_metrics(ENGINES)
    assert metrics["slot_occupancy"] == 380 / 400
    assert metrics["replicate_epochs"] == 380
    assert metrics["engine_seconds"] == 14.0
    assert metrics["seconds_train"] == 16.0
    assert metrics["seconds_search"] == 0.25


def test_speed_in_a_line():
    assert speed_sentence(ENGINES) == (
        "380 epochs of replicates in 14.0 s, 2 processes, fleets of 12 and 3 and 24 slots, 95% occupied, "
        "compilation 1.5 s"
    )
