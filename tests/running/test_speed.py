"""How many slots a fleet gets, and what a sweep says of its speed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from replicate_runs import config, mlp
from whole_sweeps import TINY, finished, journal

from lossfleet.runners.records import EngineRecord
from lossfleet.runners.training import fleet, replicate
from lossfleet.runners.training.shape import FleetShape, shape_of
from lossfleet.sweeps.commands.cli import main
from lossfleet.sweeps.comparison.frame import frame_from_records
from lossfleet.sweeps.report.speed import speed_metrics, speed_sentence
from lossfleet.sweeps.running import local, slots
from lossfleet.sweeps.running.slots import bytes_of_slot, number_of_pages, number_of_slots, slots_with_images

pytestmark = pytest.mark.usefixtures("without_figures")

SHAPE = shape_of(config(model=mlp(32, 32), batch_size=64), features=10, classes=5, train_rows=3277)
assert isinstance(SHAPE, FleetShape)
ENGINES = [
    EngineRecord(["ce"], [12, 3], 100, 90, {"compile": 1.0, "train": 7.0}, 1000.0, 1010.0),
    EngineRecord(["focal"], [24], 300, 290, {"compile": 0.5, "train": 9.0, "search": 0.25}, 1002.0, 1014.0),
]


@pytest.mark.parametrize(("replicates", "expected"), [(1, 1), (48, 48), (256, 256), (10_000, 256)])
def test_a_fleet_has_a_slot_for_each_replicate_up_to_what_is_fast(replicates, expected):
    assert number_of_slots(SHAPE, replicates=replicates, evaluated_rows=1094) == expected


def test_a_large_model_gets_as_many_slots_as_fit_into_memory(monkeypatch):
    large = replace(SHAPE, layers=tuple(mlp(4096, 4096).call(features=10, classes=5)))
    # 4097 squared weights in twelve buffers of four bytes are 0.8 GB.
    assert 0.8e9 < bytes_of_slot(large, 1094) < 1.2e9
    monkeypatch.setattr(slots, "memory", lambda: 24 * 2**30)
    assert 4 <= number_of_slots(large, replicates=48, evaluated_rows=1094) <= 8
    monkeypatch.setattr(slots, "memory", lambda: 2**30)
    assert number_of_slots(large, replicates=48, evaluated_rows=1094) == 1


def test_a_large_table_has_replicates_of_as_many_splits_as_fit_into_memory(monkeypatch):
    monkeypatch.setattr(slots, "memory", lambda: 24 * 2**30)

    def pages(rows: int, **changes: int) -> int:
        sizes = {"slots": 24, "page_rows": 3 * rows, "evaluation_rows": rows, "epochs": 30, "fleets": 1}
        return number_of_pages(replace(SHAPE, features=21, train_rows=3 * rows), **{**sizes, **changes})

    assert pages(1_000) == 24
    # 2.2 million rows of 23 numbers in the split and the pools, 20 million in the plan: 0.28 of 1.6 GB.
    assert pages(220_000) == 5
    assert pages(220_000, fleets=2) == 2
    assert pages(220_000_000) == 1
    # Of images that all splits share there are 4.4 million numbers in the place of 50.
    assert pages(220_000, shares_features=True) == 16


def test_augmented_images_of_few_slots_fit_into_a_small_memory(monkeypatch):
    # An epoch of 10,000 images of 48 x 48 is 92 MB.
    images = replace(SHAPE, features=48 * 48, train_rows=10_000)

    def found(memory: float, threads: int) -> int:
        monkeypatch.setattr(slots, "memory", lambda: int(memory))
        return slots_with_images(images, slots=24, threads=threads)

    assert [found(1e9, threads) for threads in (1, 2, 3, 64)] == [24, 24, 2, 2]
    assert [found(memory, 64) for memory in (1e12, 9e9, 1e6)] == [24, 24, 1]


def test_a_sweep_finds_the_same_natively_and_with_memory_for_one_split(tmp_path, monkeypatch, capsys):
    arguments = ["sweep", *TINY, "tracking.enabled=false", "fleet.processes=1"]
    found = []
    for name in ("native", "roomy", "narrow"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "narrow":
            monkeypatch.setattr(slots, "SHARE_FOR_SPLITS", 0.0)
            monkeypatch.setattr(replicate, "KEPT_BYTES", 0)
            # Parts of 36 rows in pieces of 5.
            monkeypatch.setattr(fleet, "EVALUATED_ROWS", 5)
            monkeypatch.setattr(local, "EVALUATED_ROWS", 5)
        assert main([*arguments, f"engine.native={'on' if name == 'native' else 'off'}"]) == 0
        (engine,) = (each for each in journal(Path(), "tiny").read() if isinstance(each, EngineRecord))
        assert engine.native == [name == "native"] * len(engine.slots)
        table = frame_from_records(journal(Path(), "tiny").read())
        assert set(table["engine"]) == {"native" if name == "native" else "graph"}
        assert ("of them native" in capsys.readouterr().err) == (name == "native")
        found.append(finished(tmp_path / name))
    native, roomy, narrow = found
    for other in (native, narrow):
        assert roomy.keys() == other.keys()
        for key, (state, epochs_or_value, numbers) in roomy.items():
            assert other[key][0] == state == "COMPLETE"
            assert other[key][1] == pytest.approx(epochs_or_value, abs=1e-6)
            assert dict(other[key][2]) == pytest.approx(dict(numbers), rel=1e-4, abs=1e-5)


def test_speed_adds_up_the_engines():
    metrics = speed_metrics(ENGINES)
    assert metrics["slot_occupancy"] == 380 / 400
    assert metrics["replicate_epochs"] == 380
    assert metrics["engine_seconds"] == 14.0
    assert metrics["seconds_train"] == 16.0
    assert metrics["seconds_search"] == 0.25


def test_speed_in_a_line():
    assert speed_sentence(ENGINES) == (
        "380 epochs of replicates in 14.0 s, 2 processes, 1 fleet of 12 slots and 1 fleet of 3 slots "
        "and 1 fleet of 24 slots, 95% occupied, compilation 1.5 s"
    )
