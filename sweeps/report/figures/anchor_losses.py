"""Where the loss falls in test images, under cross-entropy and under focal loss side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lossfleet.runners.detection.anchor_losses import CROSS_ENTROPY, OWN
from lossfleet.runners.detection.scene import Scenes
from lossfleet.runners.records import ReplicateRecord
from lossfleet.sweeps.report.figures.sheets import coloured, words_of

# Inches of a panel and of what is beside and above it, and dots an inch.
SIDE, BESIDE, ABOVE, RESOLUTION = 2.3, 0.8, 0.3, 120
FONT_SIZE = 9
# What is less than this share of the largest loss is as dark.
LEAST = 1e-4
CAPTION = (
    "The class loss of all anchors of a place, on one logarithmic scale, with the boxes of the objects. Of each image "
    "the share of its loss that falls on the anchors of objects. Columns say which loss and whose detector."
)


class LossMap(NamedTuple):
    """Of one image: the share of its loss on the anchors of objects, and the loss at each place (rows, columns)."""

    share: float
    losses: np.ndarray


@dataclass(frozen=True, eq=False)
class LossMaps:
    """Test images, and beside each of them where losses fall: a column a loss, its words and a map an image."""

    scenes: Scenes
    columns: Sequence[tuple[str, Sequence[LossMap]]]
    caption: str = CAPTION
    name: str = "anchor_losses"
    title: str = "Where the loss falls"

    def png(self, numbers: dict[str, str]) -> bytes:
        """The maps as a PNG file; nothing in it is data that letters could lack, so that `numbers` stay as they are."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        down, across = len(self.scenes), 1 + len(self.columns)
        size = SIDE * across + BESIDE, (SIDE + ABOVE) * down
        figure = Figure(figsize=size, dpi=RESOLUTION, layout="constrained")
        panels = figure.subplots(down, across, squeeze=False)
        height, width = self.scenes.images.shape[2:]
        largest = max(each.losses.max() for _, maps in self.columns for each in maps)
        scale = LogNorm(LEAST * largest, largest, clip=True)
        for row, image in enumerate(coloured(self.scenes.images)):
            panels[row, 0].imshow(image.transpose(1, 2, 0), extent=(0, width, height, 0))
            panels[row, 0].set_title("test images" if row == 0 else "", fontsize=FONT_SIZE)
            for column, (words, maps) in enumerate(self.columns, start=1):
                drawn = panels[row, column].imshow(
                    maps[row].losses, norm=scale, cmap="inferno", extent=(0, width, height, 0)
                )
                share = f"{maps[row].share:.0%} on objects"
                panels[row, column].set_title(f"{words}\n{share}" if row == 0 else share, fontsize=FONT_SIZE)
            for panel in panels[row]:
                panel.set_axis_off()
                for x1, y1, x2, y2 in self.scenes.boxes[row]:
                    panel.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="#56b4e9"))
        figure.colorbar(drawn, ax=panels[:, 1:], shrink=0.6, label="loss at a place")
        file = io.BytesIO()
        FigureCanvasAgg(figure).print_png(file, metadata=words_of(self.title, self.caption))
        return file.getvalue()


def maps_of(scenes: Scenes, replicates: Mapping[str, ReplicateRecord]) -> LossMaps | None:
    """The maps of the best strategy with focal loss, under cross-entropy and under its own loss, then those of the best
    strategy that has trained with cross-entropy; None where nothing was recorded of focal loss.

    Two losses of one detector show what focal loss leaves out; that of the other one shows what is left of
    cross-entropy once it was minimised.

    Args:
        scenes: all of the data set.
        replicates: the first final one of each strategy, the best strategy first.
    """
    kept = {name: each.anchor_losses for name, each in replicates.items() if each.anchor_losses is not None}
    focal = next((name for name, own in kept.items() if CROSS_ENTROPY in own), None)
    if focal is None:
        return None
    columns = {
        f"cross-entropy, {focal}": _by_row(kept[focal][CROSS_ENTROPY]),
        f"focal loss, {focal}": _by_row(kept[focal][OWN]),
    }
    plain = next((name for name, own in kept.items() if CROSS_ENTROPY not in own), None)
    if plain is not None:
        columns[f"cross-entropy, {plain}"] = _by_row(kept[plain][OWN])
    rows = [row for row in columns[f"focal loss, {focal}"] if all(row in own for own in columns.values())]
    if not rows:
        return None
    maps = [(words, [own[row] for row in rows]) for words, own in columns.items()]
    return LossMaps(scenes.take(np.array(rows)), maps)


def _by_row(kept: Sequence[Sequence]) -> dict[int, LossMap]:
    return {int(row): LossMap(share, np.array(losses)) for row, share, losses in kept}
