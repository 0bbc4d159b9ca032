"""The model card of a detector, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossfleet.sweeps.keeping.card import card, score

SHOWN = {"test_ap": "AP", "test_ap50": "AP at an IoU of .5", "test_ap75": "AP at an IoU of .75"}


def detector_card(description: Mapping[str, Any]) -> str:
    """The card of a detector, from what its `model.json` says."""
    told, expected, name = description["detector"], description["expected"], description["name"]
    shown = SHOWN | {f"test_class_ap[{each}]": f"AP of {each}" for each in description["classes"]}
    shape = ", ".join(map(str, description["columns"][0]["shape"]))
    stages = "two stages" if "regions" in told else "one stage"
    return card(
        description,
        what=f"A detector of {stages} that finds objects of {len(description['classes'])} classes",
        trained_on=f"all images with {len(description['made']['seeds'])} seeds, whose logits and ways from anchors to "
        "boxes are averaged.",
        measured="Average precision",
        examples="images",
        scores=[
            f"| {words} | {score(each, expected)} |" for each, words in shown.items() if each in expected
        ],
        counted="objects",
        calls=[
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
        ],
    )


def _photographs(told: Mapping[str, Any]) -> str:
    if told["tile"] is None:
        return "`predict` resizes whole photographs, enlarged to squares."
    return (
        f"`predict` cuts photographs into tiles of {told['tile']} x {told['tile']} pixels, neighbours with at least "
        f"{told['overlap']:g} of a side in common, as training had them."
    )
