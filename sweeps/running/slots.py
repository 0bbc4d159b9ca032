"""How many replicates a fleet trains together."""

from __future__ import annotations

from lossfleet.runners.environment import memory
from lossfleet.runners.models.layers import dropouts, trained_widths
from lossfleet.runners.models.stacked import trainable
from lossfleet.runners.training.second_stages import Retraining
from lossfleet.runners.training.shape import FleetShape

# Few slots pay more for starting each kernel, many fall out of the cache (measured with fused kernels on one core
# of an AMD EPYC: 0.30 ms a model-epoch with 16 slots, 0.17 with 64, 0.14 with 128, 0.15 with 256, 0.17 with 512).
MOST_SLOTS = 256
# Buffers as large as the parameters and as the activations of a batch that are alive in a step at a time.
PARAMETER_BUFFERS, ACTIVATION_BUFFERS = 12, 4
# Of the machine's memory, for all fleets of a process.
SHARE_OF_MEMORY = 0.25
# Likewise for the splits that replicates in training have; those beyond it wait.
SHARE_FOR_SPLITS = 1 / 16


def number_of_slots(shape: FleetShape, *, replicates: int, evaluated_rows: int) -> int:
    """As many slots as there are replicates to fill them, within what is fast and what fits into memory.

    Args:
        shape: of the fleet.
        replicates: how many can be in training at the same time.
        evaluated_rows: examples that a slot is evaluated on at once.
    """
    fitting = int(SHARE_OF_MEMORY * memory() // bytes_of_slot(shape, evaluated_rows))
    return max(1, min(replicates, min(MOST_SLOTS, fitting) // shape.members))


def slots_with_images(shape: FleetShape, *, slots: int, threads: int) -> int:
    """As many of a native fleet's slots as have memory for an epoch of augmented images; all where each thread has it.

    Args:
        shape: of the fleet; it augments.
        slots: that it would have.
        threads: that train a slot each, and have its epoch of images meanwhile.
    """
    fitting = int(SHARE_OF_MEMORY * memory() // (4 * shape.train_rows * shape.features))
    return slots if fitting >= threads else max(1, min(slots, fitting))


def bytes_of_slot(shape: FleetShape, evaluated_rows: int) -> int:
    """The memory that a network's slot takes, in bytes: parameters, activations, and the rows of its second stage."""
    parameters = len(trainable(shape.layers, shape.features))
    activations = (sum(trained_widths(shape.layers, shape.features)) + shape.features) * max(
        shape.batch_size, evaluated_rows
    )
    epoch = shape.train_rows * (2 + shape.classes)
    masks = shape.train_rows * sum(width for _, width in dropouts(shape.layers, shape.features))
    if isinstance(shape.second_stage, Retraining):
        epoch += shape.train_rows * shape.second_stage.inputs(shape.layers, shape.features)
    return 4 * (PARAMETER_BUFFERS * parameters + ACTIVATION_BUFFERS * activations + epoch + masks)


def number_of_pages(
    shape: FleetShape,
    *,
    slots: int,
    page_rows: int,
    evaluation_rows: int,
    epochs: int,
    fleets: int,
    shares_features: bool = False,
) -> int:
    """Of how many splits a fleet can have replicates at a time: of one a slot, unless memory is too small.

    Args:
        shape: of the fleet.
        slots: its slots.
        page_rows: the most rows that a replicate is trained on.
        evaluation_rows: the most rows of a validation or test part.
        epochs: of a replicate; so many times its training rows are in its plan.
        fleets: that share the memory of this process.
        shares_features: whether all splits have the same features in memory, as those of images that train natively.
    """
    # The split itself, and its rows in the fleet's pools.
    own = 2 if shares_features else shape.features + 2
    numbers = (shape.train_rows + page_rows + 4 * evaluation_rows) * own
    bytes_of_split = 4 * (numbers + epochs * shape.train_rows)
    return max(1, min(slots, int(SHARE_FOR_SPLITS * memory() / fleets) // bytes_of_split))
