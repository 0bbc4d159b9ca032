"""From a shape to the slots that train it."""

from __future__ import annotations

from dataclasses import replace

from lossfleet.runners.training.cells import Cells
from lossfleet.runners.training.ensembles import Ensembles
from lossfleet.runners.training.fleet import Fleet
from lossfleet.runners.training.native.fleet import NativeFleet
from lossfleet.runners.training.second_stages import Retraining
from lossfleet.runners.training.shape import CellShape, FleetShape
from lossfleet.runners.training.slots import Slots
from lossfleet.runners.training.stages import RescaledSlots, TwoStages


def build_slots(
    shape: FleetShape | CellShape,
    *,
    native: bool,
    slots: int,
    pages: int,
    page_rows: int,
    evaluation_rows: int,
    evaluation_step: int = 1,
) -> Slots:
    """Slots for replicates of a shape: ensembles of models in two stages, as far as it has them.

    Args:
        shape: what all replicates have in common.
        native: the native core trains them.
        slots, pages, page_rows, evaluation_rows, evaluation_step: as `Fleet` has them; ensembles count as one.

    Raises:
        UserError: a second stage cannot work on the model.
    """
    rooms = {
        "pages": pages,
        "page_rows": page_rows,
        "evaluation_rows": evaluation_rows,
        "evaluation_step": evaluation_step,
    }
    if shape.members > 1:
        one = replace(shape, members=1)
        return Ensembles(build_slots(one, native=native, slots=slots * shape.members, **rooms), shape.members)
    if shape.second_stage is not None:
        shape.second_stage.check(shape.layers if isinstance(shape, FleetShape) else None)
        first = build_slots(replace(shape, second_stage=None), native=native, slots=slots, **rooms)
        if not isinstance(shape.second_stage, Retraining):
            return RescaledSlots(first)
        # What the first stage makes of the rows is each replicate's own.
        second = build_slots(
            head_shape(shape), native=native, slots=slots, pages=slots, page_rows=page_rows, evaluation_rows=1
        )
        return TwoStages(first, second)
    if isinstance(shape, CellShape):
        return Cells(shape, slots=slots)
    if native:
        return NativeFleet(shape, slots=slots, row_sets=pages)
    return Fleet(shape, slots=slots, **rooms)


def head_shape(shape: FleetShape | CellShape) -> FleetShape:
    """The shape of the layers that a second stage trains."""
    stage = shape.second_stage
    assert isinstance(stage, Retraining)
    assert isinstance(shape, FleetShape)
    layers, features = stage.trained(shape.layers), stage.inputs(shape.layers, shape.features)
    return replace(shape, features=features, layers=layers, second_stage=None, mixes=False, augments=False)
