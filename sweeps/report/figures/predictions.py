"""Figures of the final replicates: how they learned and what they predict on the test part."""

from __future__ import annotations

import string

import numpy as np

from lossfleet.runners.metrics.evaluation import LOSS_SHARES, MOST_CONFUSION_CLASSES
from lossfleet.sweeps.report.figures import data
from lossfleet.sweeps.report.figures.marks import (
    BLUES,
    QUIET,
    Axis,
    Band,
    Cells,
    Figure,
    Line,
    Look,
    Mark,
    Panel,
    Points,
    Scale,
)
from lossfleet.sweeps.report.figures.source import NothingToShow, Source, with_same_heights

LONGEST_NAME = 14
# A class with a name so long is named in the columns too.
SHORT_NAME = 3
# A share of fewer examples says nothing.
FEWEST_EXAMPLES = 10
# Of rising gammas.
GAMMA_LOOKS = (
    Look("#4d4d4d", "circle", "dash"),
    Look("#0072b2", "square", "dashdot"),
    Look("#e69f00", "diamond", "longdash"),
    Look("#d55e00", "star"),
)
# The height of a panel that is to be square where there are two in a row.
SQUARE = 0.5


def learning_curves(source: Source) -> Figure:
    """The validation metric by epoch: mean and standard deviation over the final replicates."""
    table = data.mean_curve(source.frame, f"validation_{source.metric}")
    if table.empty:
        raise NothingToShow("the replicates have no curves")
    panels = []
    for name in source.in_order(table["strategy"]):
        marks: list[Mark] = [
            Line(list(other["step"]), list(other["mean"]), QUIET, width=0.8)
            for each, other in table.groupby("strategy")
            if each != name
        ]
        own = table[table["strategy"] == name]
        look = source.looks[name]
        steps = list(own["step"])
        marks.append(Band(steps, list(own["low"]), list(own["high"]), look))
        marks.append(Line(steps, list(own["mean"]), look))
        marks.append(Points(steps, list(own["mean"]), look, size=4))
        panels.append(Panel(marks, Axis("epoch"), Axis(), name))
    return Figure(
        "learning_curves",
        "Learning curves of the final replicates",
        f"{source.value_name.capitalize()}: mean over the final replicates ± a standard deviation. Thin grey "
        "lines: the other strategies.",
        with_same_heights(panels),
        columns=2,
        panel_height=0.42,
    )


def confusion(source: Source) -> Figure:
    """Which classes are taken for which, on the test part."""
    matrices = data.confusions(source.frame)
    classes = data.class_names(source.frame)
    if len(classes) > MOST_CONFUSION_CLASSES:
        raise NothingToShow(
            f"{len(classes)} classes are too many; their counts are in confusion/ of the sweep"
        )
    if not matrices:
        raise NothingToShow("the final replicates have no confusion counts")
    are_short = max(map(len, classes)) <= SHORT_NAME
    # Letters, since a number could be taken for the name of a class.
    keys = dict(enumerate(classes if are_short else string.ascii_lowercase[: len(classes)]))
    names = (
        keys if are_short else {index: f"{_shortened(classes[index])} {key}" for index, key in keys.items()}
    )
    panels: list[Panel] = []
    for name in source.in_order(matrices):
        counts, shares = matrices[name]
        texts = [[_count(count) for count in row] for row in counts]
        panels.append(
            Panel(
                [Cells(shares.tolist(), texts, Scale(0.0, 1.0, BLUES))],
                Axis(names=keys),
                # Named once a row, or the names take the place of the matrices.
                Axis(names=keys if len(panels) % 2 else names),
                name,
            )
        )
    return Figure(
        "confusion",
        "Confusion matrices on the test part",
        "A row a true class, a column a predicted one. Numbers: examples a split, the mean over the final "
        "splits. Colour: share of the true class.",
        panels,
        columns=2,
        panel_height=SQUARE,
    )


def precision_recall(source: Source) -> Figure:
    """Precision of the rarest class at each recall."""
    table = data.mean_curve(source.frame, "test_precision_at_recall")
    if table.empty:
        raise NothingToShow("the final replicates have no precision at given recalls")
    marks: list[Mark] = []
    for name in source.in_order(table["strategy"]):
        own = table[table["strategy"] == name]
        look = source.looks[name]
        marks.append(Line(list(own["step"] / 100), list(own["mean"]), look))
        every_tenth = own[own["step"] % 10 == 0]
        marks.append(
            Points(list(every_tenth["step"] / 100), list(every_tenth["mean"]), look, name=name, size=5)
        )
    return Figure(
        "precision_recall",
        "Precision and recall at an IoU of 0.5, the mean over classes"
        if "test_ap50" in source.frame
        else "Precision and recall of the rarest class",
        "The highest precision at that recall or more, the mean over the final splits of the test part.",
        [Panel(marks, Axis("recall", limits=(0, 1)), Axis("precision", limits=(0, 1.03)))],
        panel_height=0.7,
    )


def loss_shares(source: Source) -> Figure:
    """How unevenly the loss of a detector falls on its anchors, for several gammas: the paper's Figure 4."""
    tables = {key: data.mean_curve(source.frame, curve) for key, curve in LOSS_SHARES.items()}
    there = {key: table for key, table in tables.items() if len(table)}
    if not there:
        raise NothingToShow("no detector with focal loss was evaluated")
    strategy = source.in_order({name for table in there.values() for name in table["strategy"]})[0]
    panels = []
    for kind in dict.fromkeys(kind for kind, _ in there):
        marks: list[Mark] = []
        for (_, gamma), look in zip(LOSS_SHARES, GAMMA_LOOKS, strict=False):
            own = there[kind, gamma][there[kind, gamma]["strategy"] == strategy]
            # Of the positives they leave no room for names.
            name = f"gamma {gamma:g}" if kind == "negatives" else ""
            marks.append(Line(list(own["step"] / 100), list(own["mean"]), look, name))
        x, y = Axis(f"share of {kind}", limits=(0, 1)), Axis("of their loss", limits=(0, 1.02))
        panels.append(Panel(marks, x, y, kind))
    return Figure(
        "loss_shares",
        "How unevenly the loss falls on anchors",
        "Losses of the anchors on objects and of those on background, each sorted, normalised and cumulated: of one "
        f"detector that {strategy} has trained, on its test part, with the gamma of each line.",
        panels,
        columns=2,
        panel_height=SQUARE,
    )


def reliability(source: Source) -> Figure:
    """How often predictions are right, by how confident they are."""
    table = data.reliability(source.frame)
    table = table[table["count"] >= FEWEST_EXAMPLES]
    if table.empty:
        raise NothingToShow(f"the final replicates have no bin of confidence with {FEWEST_EXAMPLES} examples")
    panels = []
    for name in source.in_order(table["strategy"]):
        own = table[table["strategy"] == name]
        look = source.looks[name]
        sizes = 3 + 9 * np.sqrt(own["count"] / own["count"].max())
        texts = [f"{count:.0f} examples" for count in own["count"]]
        marks: list[Mark] = [
            Line([0, 1], [0, 1], QUIET, width=0.8),
            Line(list(own["confidence"]), list(own["accuracy"]), look, width=1),
            Points(list(own["confidence"]), list(own["accuracy"]), look, size=list(sizes), texts=texts),
        ]
        panels.append(
            Panel(marks, Axis("confidence", limits=(0, 1.04)), Axis("accuracy", limits=(0, 1.04)), name)
        )
    return Figure(
        "reliability",
        "Reliability of the predicted probabilities",
        "Share of right predictions by their probability, over all final splits; on the line they agree. The "
        f"larger a marker, the more examples; bins with fewer than {FEWEST_EXAMPLES} are left out.",
        panels,
        columns=2,
        panel_height=SQUARE,
    )


def _count(mean: float) -> str:
    if mean < 0.05:
        return ""
    return f"{mean:.1f}" if mean < 10 else f"{mean:.0f}"


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
