"""Any cell as a model, an epoch of it in one graph, against the same cell trained step by step on stock MindSpore."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from replicate_runs import EPOCHS, focal, log_loss, replicate, shape_of_replicate
from replicate_runs import config as make_config

from lossfleet.conf.parts import Part
from lossfleet.runners.training.cells import Cells
from lossfleet.runners.training.replicate import Replicate
from lossfleet.runners.training.solo import train_solo

CODE = '''
from mindspore import nn

class Plain(nn.Cell):
    def __init__(self, features, classes, width: int = 13):
        super().__init__()
        self.layers = nn.SequentialCell(nn.Dense(features, width), nn.LayerNorm((width,)), nn.ReLU(),
                                        nn.Dense(width, classes))

    def construct(self, examples):
        return self.layers(examples)

class Stubborn(Plain):
    def construct(self, examples):
        # A graph knows comprehensions of one loop alone.
        (one,) = [first * second for first in (1.0,) for second in (1.0,)]
        return self.layers(examples * one)
'''


@pytest.fixture(autouse=True, scope="module")
def _code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    Path(folder, "cells_under_test.py").write_text(CODE)
    sys.path.append(str(folder))
    yield
    sys.path.remove(str(folder))


def make(name: str = "Plain", seed: int = 5, lr: float = 3e-3) -> Replicate:
    model = Part("model", name.lower(), f"cells_under_test.{name}", (("width", 13),))
    made = make_config(focal(1.5, tau=0.5), model=model)
    made = replace(made, optimizer=made.optimizer.replace(lr=lr))
    return replicate(made, seed=seed, split=seed % 3)


def cells_for(each: Replicate, slots: int) -> Cells:
    return Cells(shape_of_replicate(each), slots=slots)


def curves(cells: Cells, slot: int, each: Replicate, epochs: int = EPOCHS) -> list[tuple[float, float]]:
    """Training loss and validation log-loss of a slot by epoch."""
    found = []
    for _ in range(epochs):
        loss = cells.train_epoch()[slot]
        found.append((loss, log_loss(cells.logits("validation")[slot], each.split.validation_labels)))
    return found


def test_a_cell_trains_as_it_does_step_by_step():
    each = make()
    expected = [
        (
            progress.training_loss[-1],
            log_loss(progress.logits(each.split.validation_features), each.split.validation_labels),
        )
        for progress in train_solo(each)
    ]
    cells = cells_for(each, 2)
    cells.enter(1, each)
    np.testing.assert_allclose(curves(cells, 1, each), expected, rtol=1e-4)


def test_slots_do_not_touch_each_other_and_are_reused_without_a_trace():
    first, second = make(seed=5), make(seed=1)
    alone = cells_for(first, 1)
    alone.enter(0, first)
    expected = curves(alone, 0, first, 4)
    cells = cells_for(first, 2)
    cells.enter(0, second)
    cells.train_epoch()
    cells.leave(0)
    cells.enter(0, make(seed=1, lr=1e30))
    cells.enter(1, first)
    np.testing.assert_allclose(curves(cells, 1, first, 4), expected, rtol=1e-6)
    assert not np.isfinite(cells.train_epoch()[0])
    assert cells.free_slots() == []
    with pytest.raises(ValueError, match="slot 0 is taken"):
        cells.enter(0, second)


def test_a_cell_that_does_not_compile_trains_step_by_step_and_says_so_once(capfd):
    plain, stubborn = make("Plain"), make("Stubborn")
    cells, steps = cells_for(plain, 1), cells_for(stubborn, 1)
    cells.enter(0, plain)
    steps.enter(0, stubborn)
    np.testing.assert_allclose(curves(steps, 0, stubborn, 3), curves(cells, 0, plain, 3), rtol=1e-4)
    said = [line for line in capfd.readouterr().err.splitlines() if "does not compile" in line]
    assert len(said) == 1
