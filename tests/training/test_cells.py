"""Any cell in its engine, against the solo engine and the fleet, and the properties of its slots."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from cell_models import Plain
from mindspore import Tensor, ops
from replicate_runs import (
    EPOCHS,
    Curves,
    adamw,
    check_recall,
    config,
    empty,
    fill,
    fleet_curves,
    focal,
    make_fleet,
    mlp,
    replicate,
    solo_curves,
)

from lossfleet.conf.parts import Part, named_part
from lossfleet.runners.models.build import build_cell
from lossfleet.runners.models.dropout import SeededDropout
from lossfleet.runners.training.cells import Cells
from lossfleet.runners.training.replicate import Replicate
from lossfleet.runners.training.slots import Slots


def cell_of(name: str, **settings: Any) -> Part:
    return Part("model", name.lower(), f"cell_models.{name}", tuple(settings.items()))


PLAIN = cell_of("Plain")
MINED = {"mining": named_part("mining", "fraction", keep=0.6)}
COSINE = {"schedule": named_part("schedule", "cosine", warmup=0.25)}
NESTEROV = {"optimizer": named_part("optimizer", "sgd", lr=3e-2, momentum=0.8, nesterov=True)}

# 106 rows are two batches of 53, or five of 19 and a ragged one of 11.
MEMBERS = {
    "mining, sgd and a schedule": config(focal(2.0, tau=0.5), model=PLAIN, **MINED, **NESTEROV, **COSINE),
    "layer normalisation": config(model=cell_of("Mixed", norm="layer")),
    "batch normalisation": config(model=cell_of("Mixed", norm="batch"), batch_size=53),
    "dropout": config(model=cell_of("Mixed", rate=0.3)),
    "mixup, late weights and clipped": config(
        focal(1.0, tau=0.5),
        model=PLAIN,
        mixing=named_part("mixing", "mixup", alpha=1.0),
        defer=0.5,
        clip_norm=0.3,
    ),
}


@cache
def member(name: str, seed: int = 5) -> Replicate:
    return replicate(MEMBERS[name], seed=seed, split=1)


@cache
def engine(name: str) -> Slots:
    """Two empty slots, whose graph is compiled once."""
    return make_fleet([member(name)], slots=2)


@cache
def pair(name: str) -> Curves:
    """The curves of two seeds in one engine."""
    curves = fleet_curves(engine(name), [member(name), member(name, 6)])
    empty(engine(name))
    return curves


@pytest.mark.parametrize("name", MEMBERS)
def test_a_cell_trains_as_it_does_alone(name):
    for curves, expected in zip(pair(name), solo_curves(member(name)), strict=True):
        np.testing.assert_allclose(curves[0], expected, rtol=1e-4)


def test_a_cell_of_the_layers_of_a_model_trains_as_the_model_does():
    """Our multilayer perceptron in the fleet, and a cell that starts from the same numbers in its own engine."""
    of_layers, plain = (
        replicate(config(focal(2.0, tau=0.5), model=model), seed=5, split=1) for model in (mlp(13, 11), PLAIN)
    )
    fleet, cells = make_fleet([of_layers], slots=3), make_fleet([plain])
    in_fleet = fleet_curves(fleet, [of_layers])
    assert isinstance(cells, Cells)
    assert (fleet.engine(0), cells.engine(0)) == ("graph", "cell")
    started = [array for arrays in of_layers.initial for array in arrays]
    enter = cells.enter

    def enter_from_there(slot: int, each: Replicate) -> None:
        enter(slot, each)
        cells._states[slot][: len(started)] = started

    cells.enter = enter_from_there  # type: ignore[method-assign]
    in_cells = fleet_curves(cells, [plain])
    cell = Plain(of_layers.features.shape[1], of_layers.classes)
    for parameter, values in zip(cell.get_parameters(), started, strict=True):
        ops.assign(parameter, Tensor(values))
    alone = solo_curves(plain, cell)
    for curve, other, expected in zip(in_cells, in_fleet, alone, strict=True):
        np.testing.assert_allclose(curve[0], expected, rtol=1e-4)
        np.testing.assert_allclose(other[0], expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["mining, sgd and a schedule", "batch normalisation", "dropout"])
def test_slots_do_not_touch_each_other_nor_what_comes_after(name):
    """A slot that another seed had before gives what a seed gives in company."""
    first, second, together = member(name), member(name, 6), pair(name)
    cells = fill(engine(name), [first, first])
    for _ in range(3):
        cells.train_epoch()
        cells.logits("validation")
    cells.leave(0)
    cells.leave(1)
    assert cells.free_slots() == [0, 1]
    again = fleet_curves(cells, [second])
    for curve, expected in zip(again, together, strict=True):
        np.testing.assert_allclose(curve[0], expected[1], rtol=1e-5)
    assert not np.allclose(together[2][0], together[2][1], rtol=1e-2)
    empty(cells)
    if name == "batch normalisation":
        # Its running statistics are recalled too.
        check_recall(cells, [first, second])


def test_a_seed_makes_a_cell():
    model = MEMBERS["dropout"].model
    names = [each.name for each in build_cell(model, 13, 3).get_parameters()]
    assert len(set(names)) == len(names)
    first, again, other = (
        fill(make_fleet([member("dropout", seed)]), [member("dropout", seed)])._states[0]
        for seed in (5, 5, 6)
    )
    for values, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(values, same)
        assert values.ndim < 2 or not values.any() or (values != different).any()


def mask_of(shape: tuple[int, ...], seed: int, rate: float) -> np.ndarray:
    """The mixing of MurmurHash3 in NumPy."""
    mixed = np.arange(np.prod(shape), dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(seed)
    for bits, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(bits))) * np.uint32(factor)
    signed = (mixed ^ (mixed >> np.uint32(16))).view(np.int32).astype(np.int64)
    return ((signed >= round(rate * 2**32) - 2**31) / (1 - rate)).reshape(shape)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_a_seeded_dropout_drops_its_share_by_its_seed(seed):
    cell = SeededDropout(0.3)
    ops.assign(cell.seed, Tensor(np.int32(seed)))
    values, mask = (each.asnumpy() for each in cell(Tensor(np.full((101, 57), 2.0, np.float32))))
    expected = mask_of((101, 57), seed, 0.3)
    np.testing.assert_allclose(mask, expected, rtol=1e-6)
    np.testing.assert_allclose(values, 2 * expected, rtol=1e-6)
    # Three standard deviations.
    assert abs((mask > 0).mean() - 0.7) < 3 * np.sqrt(0.21 / mask.size)


def test_nan_stays_in_its_slot():
    healthy, poisoned = (
        replicate(config(model=PLAIN, optimizer=adamw(lr)), seed=seed) for lr, seed in ((3e-3, 0), (1e30, 1))
    )
    beside_healthy = [replicate(config(model=PLAIN), seed=1), healthy]
    cells = make_fleet(beside_healthy)
    _, _, expected = fleet_curves(cells, beside_healthy)
    fill(empty(cells), [poisoned, healthy])
    training = np.array([cells.train_epoch() for _ in range(EPOCHS)])
    assert not np.isfinite(training[-1, 0])
    np.testing.assert_allclose(training[:, 1], expected[1], rtol=1e-6)
    logits = cells.logits("validation")
    assert np.isfinite(logits[1]).all()
    assert not np.isfinite(logits[0]).all()
    # Where all features move together, the logits move with them.
    features = healthy.split.validation_features
    everything = tuple(range(features.shape[1]))
    moved = cells.features(1, "validation", everything)
    order = [int(np.flatnonzero((features == row).all(axis=1))[0]) for row in moved]
    assert order != sorted(order)
    found = cells.logits("validation", [1], everything)[1]
    np.testing.assert_allclose(found, logits[1][:, order], rtol=1e-5, atol=1e-6)


def test_a_cell_that_does_not_compile_trains_step_by_step_and_says_so_once(capfd, tmp_path, monkeypatch):
    # MindSpore leaves traces of what it cannot compile.
    monkeypatch.chdir(tmp_path)
    # Two steps an epoch, which take half a second each.
    made = config(model=cell_of("Stubborn"), batch_size=53)
    members = [replicate(made, seed=seed) for seed in (5, 6)]
    curves = fleet_curves(make_fleet(members), members)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("lossfleet: ")]
    assert len(said) == 1
    assert "cell_models.Stubborn does not compile and trains step by step" in said[0]
    for curve, expected in zip(curves, solo_curves(members[0]), strict=True):
        np.testing.assert_allclose(curve[0], expected, rtol=1e-4)


def test_a_taken_slot_refuses_a_second_replicate():
    each = member("dropout")
    cells = fill(make_fleet([each]), [each])
    with pytest.raises(ValueError, match="slot 0 is taken"):
        cells.enter(0, each)
