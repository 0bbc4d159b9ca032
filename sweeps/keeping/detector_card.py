"""The model card of a detector, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossfleet.sweeps.keeping.card import epochs_said, score

SHOWN = {"test_ap": "AP", "test_ap50": "AP at an IoU of .5", "test_ap75": "AP at an IoU of .75"}


def detector_card(description: Mapping[str, Any]) -> str:
    """The card of a detector, from what its `model.json` says."""
    made, data, told = description["made"], description["data"], description["detector"]
    expected, name = description["expected"], description["name"]
    shown = SHOWN | {f"test_class_ap[{each}]": f"AP of {each}" for each in description["classes"]}
    scores = [f"| {words} | {score(each, expected)} |" for each, words in shown.items() if each in expected]
    counts = zip(description["classes"], description["class_counts"], strict=True)
    hyperparameters = [f"- `{key}`: {value}" for key, value in made["hyperparameters"].items()]
    notes = [f"- {note}" for note in data["notes"]]
    shape = ", ".join(map(str, description["columns"][0]["shape"]))
    stages = "two stages" if "regions" in told else "one stage"
    return "\n".join(
        [
            f"# {name}: {made['strategy']}",
            "",
            f"A detector of {stages} that finds objects of {len(description['classes'])} classes, kept by lossfleet "
            f"{description['lossfleet']} from the sweep {made['sweep']}: the best configuration of "
            f"{made['strategy']} (trial {made['trial']}), trained again on all images with {len(made['seeds'])} "
            f"seeds, whose logits and ways from anchors to boxes are averaged.{epochs_said(description)}",
            "",
            "## Verdict of the sweep",
            "",
            made["verdict"] or "None was recorded.",
            "",
            "## What to expect",
            "",
            f"Average precision of single trainings on test parts that they had not seen, in {made['splits']} final "
            "splits; mean and 95 % interval, corrected for the overlap of splits. This model has learned from more "
            "images.",
            "",
            "| metric | expected |",
            "|---|---|",
            *scores,
            "",
            "## Hyperparameters",
            "",
            *(hyperparameters or ["None was searched."]),
            "",
            "## Data",
            "",
            f"{data['name']}, digest {data['digest']}. {data['source']}",
            "",
            *notes,
            *([""] if notes else []),
            "| class | objects |",
            "|---|---|",
            *(f"| {each} | {count} |" for each, count in counts),
            "",
            "## How to call it",
            "",
            "```",
            f"lossfleet predict {name} photographs --output finds.csv",
            f"lossfleet serve {name} --port 5001",
            "```",
            "",
            "```python",
            "import mlflow",
            "",
            f'model = mlflow.pyfunc.load_model("models:/{name}@champion")',
            "model.predict(images)",
            "```",
            "",
            f"`images` is an array (N, {shape}) of uint8. {_photographs(told)} The answer has a row a find: the image, "
            "the class, a score from 0 to 1, and the box in pixels, its ends exclusive.",
            "",
        ]
    )


def _photographs(told: Mapping[str, Any]) -> str:
    if told["tile"] is None:
        return "`predict` resizes whole photographs, enlarged to squares."
    return (
        f"`predict` cuts photographs into tiles of {told['tile']} x {told['tile']} pixels, neighbours with at least "
        f"{told['overlap']:g} of a side in common, as training had them."
    )
