"""The focal loss paper's Figure 1 from our own losses: loss and gradient by the probability of the true class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0)
# Dashes tell the curves apart without colour.
COLORS = ("black", "#0072B2", "#D55E00", "#009E73", "#882255")
DASHES = ("-", (0, (7, 2)), (0, (4, 1.5, 1, 1.5)), (0, (2.5, 1.5)), (0, (1, 1)))
# Where the lines from the labels meet the curves of the loss.
LABELLED = (0.10, 0.16, 0.23, 0.31, 0.36)
LOWEST_GRADIENT = 1e-4


def loss_curves(probability: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Focal loss and the magnitude of its derivative with respect to the logit.

    Args:
        probability: (N,), p_t in (0, 1).
        gamma: at least 0.

    Returns:
        Losses and magnitudes (N,), from `losses.sigmoid_focal_loss`.
    """
    import mindspore as ms
    from mindspore import Tensor

    from lossfleet.losses import sigmoid_focal_loss

    logits = Tensor((np.log(probability) - np.log1p(-probability)).astype(np.float32))
    labels = Tensor(np.ones(len(probability), np.int32))

    def total(logits: Tensor) -> Tensor:
        return sigmoid_focal_loss(logits, labels, gamma=gamma).sum()

    values = sigmoid_focal_loss(logits, labels, gamma=gamma).asnumpy()
    return values, np.abs(ms.grad(total)(logits).asnumpy())


def draw_losses(path: Path) -> None:
    """Draws the figure into a file.

    Args:
        path: its ending, .png or .svg, is the format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    losses, gradients = figure.subplots(1, 2)
    probability = np.linspace(0.002, 0.96, 480)
    for row, gamma in enumerate(GAMMAS):
        values, magnitudes = loss_curves(probability, gamma)
        look = {"color": COLORS[row], "linestyle": DASHES[row], "linewidth": 2}
        losses.plot(probability, values, **look)
        gradients.plot(probability, magnitudes, **look)
        label = f"$\\gamma$ = {gamma:g}"
        _point(losses, label, (0.52, 4.5 - 0.6 * row), _at(LABELLED[row], probability, values), COLORS[row])
        end = np.flatnonzero(magnitudes > 1.5 * LOWEST_GRADIENT)[-1]
        at_the_edge = end + 1 == len(probability)
        gradients.text(
            probability[end] + (0.02 if at_the_edge else -0.04),
            magnitudes[end],
            label,
            color=COLORS[row],
            fontsize=12,
            ha="left" if at_the_edge else "right",
            va="center",
        )
    losses.set(title="loss", ylim=(0, 5))
    gradients.set(title="size of the gradient", yscale="log", ylim=(LOWEST_GRADIENT, 2))
    for axes in (losses, gradients):
        axes.set(xlim=(0, 1), xlabel="probability of the true class, $p_t$", xticks=np.linspace(0, 1, 6))
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _at(place: float, probability: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """The point of a curve."""
    return place, float(np.interp(place, probability, values))


def _point(
    axes: Axes, label: str, position: tuple[float, float], target: tuple[float, float], color: str
) -> None:
    """Writes a label with a thin line from its left end to the target."""
    axes.annotate(
        label,
        target,
        position,
        color=color,
        fontsize=12,
        va="center",
        arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.7, "relpos": (0, 0.5), "shrinkA": 3},
    )
