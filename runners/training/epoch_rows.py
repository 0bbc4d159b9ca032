"""The rows that an epoch trains on: those of its replicate, or what augmentation makes of the images that it draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.runners.data.splits import Split
from lossfleet.runners.images.pixels import BLOCK_ROWS, Features, Shape
from lossfleet.runners.streams import Stream, generator
from lossfleet.runners.training.replicate import Replicate, Rows

# Of those that an augmentation is tried on.
TRIED_ROWS = 5


def at_epoch(replicate: Replicate, epoch: int) -> Replicate:
    """A replicate with the rows of an epoch, counted from 0: without augmentation itself.

    With augmentation a row is a draw of the epoch, in their order, each with an image of its own, so that an image that
    is drawn twice is seen in two forms. They depend on the seed, the split and the epoch alone.

    Raises:
        UserError: its examples are no images, or what the augmentation makes of them are none.
    """
    part = replicate.config.augmentation
    if part.target is None:
        return replicate
    draws, weights = replicate.plan[epoch], replicate.weights
    random = generator(Stream.AUGMENTATION, replicate.random_seed, replicate.split_number, epoch)
    rows = Rows(
        augmented(part, replicate.features, draws, image_shape_of(part, replicate.split), random),
        replicate.labels[draws],
        None if weights is None else weights[draws],
    )
    plan = np.broadcast_to(np.arange(len(draws), dtype=np.int32), replicate.plan.shape)
    return replace(replicate, rows=rows, rows_key=(rows,), plan=plan)


def augmented(
    augmentation: Part, features: Features, rows: np.ndarray, image_shape: Shape, random: np.random.Generator
) -> np.ndarray:
    """What an augmentation makes of some images, (n, F) float32.

    Args:
        augmentation: of the group `augmentation`, not none.
        features: (M, F) float32, standardised.
        rows: (n,), which of them.
        image_shape: (channels, height, width), F numbers.
        random: given to it.

    Raises:
        UserError: it does not return finite images of this shape.
    """
    made = np.empty((len(rows), features.shape[1]), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        of_block = made[start : start + BLOCK_ROWS]
        images = features[rows[start : start + BLOCK_ROWS]].reshape(-1, *image_shape)
        found = np.asarray(augmentation.call(images=images, random=random))
        if found.shape != images.shape or found.dtype.kind not in "fiu":
            raise _wrong(augmentation, f"{found.dtype} of the shape {found.shape}", images.shape)
        of_block[:] = found.reshape(of_block.shape)
    return made


def try_augmentation(augmentation: Part, split: Split, data: str) -> None:
    """Augments a few training images.

    Args:
        augmentation: of the group `augmentation`, not none.
        split: of the data.
        data: its name.

    Raises:
        UserError: the data has no images, or the augmentation returns none.
    """
    shape = image_shape_of(augmentation, split, data)
    rows, random = np.arange(min(TRIED_ROWS, len(split.train_labels))), np.random.default_rng(0)
    found = augmented(augmentation, split.train_features, rows, shape, random)
    if not np.isfinite(found).all():
        raise _wrong(augmentation, "numbers that are not finite", (len(rows), *shape))


def image_shape_of(augmentation: Part, split: Split, data: str = "") -> Shape:
    """The shape of the images of a split.

    Raises:
        UserError: it has none.
    """
    if split.image_shape is None:
        of_data = f" beside data={data}" if data else ""
        raise UserError(
            what=f"augmentation={augmentation.name} is set{of_data}, whose rows are no images",
            expected="images, such as those of data=digits",
            hint="write augmentation=none",
        )
    return split.image_shape


def _wrong(augmentation: Part, what: str, shape: tuple[int, ...]) -> UserError:
    return UserError(
        what=f"augmentation={augmentation.name} returned {what}",
        expected=f"finite images {shape}, as it was given",
        hint=f"correct {augmentation.target} ({augmentation.signature.place})",
    )
