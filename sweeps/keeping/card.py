"""The model card: what a kept model is, what to expect of it and how to call it, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lossfleet.sweeps.keeping.expectation import PREFIXES, interval_within_scale

SHOWN = (
    "test_balanced_accuracy",
    "test_corrected_balanced_accuracy",
    "test_decided_balanced_accuracy",
    "test_decided_cost",
    "test_argmax_cost",
    "test_macro_f1",
    "test_macro_average_precision",
    "test_accuracy",
    "test_mcc",
    "test_rarest_recall",
    "test_scaled_expected_calibration_error",
)


def model_card(description: Mapping[str, Any]) -> str:
    """The card of a classifier, from what its `model.json` says."""
    expected, classes = description["expected"], description["classes"]
    scores = [
        f"| {name.removeprefix('test_').replace('_', ' ')} | {score(name, expected)} |"
        for name in SHOWN
        if name in expected
    ]
    prefix = PREFIXES[description["decision"]]
    recalls = [
        f"| recall of {name} | {score(f'{prefix}recall[{name}]', expected)} |"
        for name in classes
        if f"{prefix}recall[{name}]" in expected
    ]
    return card(
        description,
        what=f"A classifier of rows into {len(classes)} classes",
        trained_on=f"{sum(description['class_counts'])} rows with {len(description['made']['seeds'])} seeds. Its "
        "logits are the mean of theirs.",
        measured="Scores",
        examples="rows",
        scores=[*scores, *recalls],
        decisions=[
            f"Probabilities are softmax(logits / {description['temperature']:.4g}), decisions "
            f"{_decision(description)}; `prior` decides by logits - {description['prior_exponent']:.3g} log prior. "
            "Temperature, exponent and threshold are means of those that final replicates fitted on validation parts.",
            "",
        ],
        counted="rows",
        calls=_calls(description["name"], description["columns"]),
    )


def card(
    description: Mapping[str, Any],
    *,
    what: str,
    trained_on: str,
    measured: str,
    examples: str,
    scores: Sequence[str],
    decisions: Sequence[str] = (),
    counted: str,
    calls: Sequence[str],
) -> str:
    """The card of any kept model.

    Args:
        description: what its `model.json` says.
        what: it is.
        trained_on: what it was trained on again, with how many seeds.
        measured: what is expected of it.
        examples: what it has learned from.
        scores: lines of the table of what to expect.
        decisions: how it decides.
        counted: what is counted of each class.
        calls: how to call it.
    """
    made, data = description["made"], description["data"]
    hyperparameters = [f"- `{name}`: {value}" for name, value in made["hyperparameters"].items()]
    notes = [f"- {note}" for note in data["notes"]]
    counts = zip(description["classes"], description["class_counts"], strict=True)
    return "\n".join(
        [
            f"# {description['name']}: {made['strategy']}",
            "",
            f"{what}, kept by lossfleet {description['lossfleet']} from the sweep {made['sweep']}: the best "
            f"configuration of {made['strategy']} (trial {made['trial']}), trained again on {trained_on}"
            f"{_epochs(description)}{_networks(description)}",
            "",
            "## Verdict of the sweep",
            "",
            made["verdict"] or "None was recorded.",
            "",
            "## What to expect",
            "",
            f"{measured} of single trainings on test parts that they had not seen, in {made['splits']} final splits; "
            "mean and 95 % interval, corrected for the overlap of splits. This model has learned from more "
            f"{examples}.",
            "",
            "| metric | expected |",
            "|---|---|",
            *scores,
            "",
            "## Hyperparameters",
            "",
            *(hyperparameters or ["None was searched."]),
            "",
            *decisions,
            "## Data",
            "",
            f"{data['name']}, digest {data['digest']}. {data['source']}",
            "",
            *notes,
            *([""] if notes else []),
            f"| class | {counted} |",
            "|---|---|",
            *(f"| {name} | {count} |" for name, count in counts),
            "",
            "## How to call it",
            "",
            *calls,
            "",
        ]
    )


def _decision(description: Mapping[str, Any]) -> str:
    if description["decision"] == "threshold":
        threshold = description["threshold"]
        return f"{threshold['class']} from a probability of {threshold['at_least']:.4g}"
    if description["decision"] == "costs":
        return f"of least expected cost, by {description['costs']}, a row a true class"
    return str(description["decision"])


def score(metric: str, expected: Mapping[str, Mapping[str, float | None]]) -> str:
    """What to expect of a metric: its mean, with the interval if there is one."""
    mean, interval = expected[metric]["mean"], interval_within_scale(metric, expected[metric])
    return f"{mean:.3f}" if interval is None else f"{mean:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _calls(name: str, columns: Sequence[Mapping[str, Any]]) -> list[str]:
    if columns[0]["kind"] == "pixels":
        shape = ", ".join(map(str, columns[0]["shape"]))
        files, module, rows = "photos", "numpy", "images"
        taken = f"`images` is an array (N, {shape}) of {columns[0]['dtype']}."
    else:
        files, module, rows = "rows.csv", "pandas", 'pandas.read_csv("rows.csv")'
        taken = f"Columns: {', '.join(map(_column, columns))}."
    return [
        "```",
        f"lossfleet predict {name} {files} --output predictions.csv",
        f"lossfleet serve {name} --port 5001",
        "```",
        "",
        "```python",
        f"import mlflow, {module}",
        "",
        f'model = mlflow.pyfunc.load_model("models:/{name}@champion")',
        f"model.predict({rows})",
        f'model.predict({rows}, params={{"decision": "prior"}})',
        "```",
        "",
        taken,
    ]


def _column(column: Mapping[str, Any]) -> str:
    kind = "a number" if column["kind"] == "number" else f"one of {len(column['words'])} categories"
    return f"`{column['name']}` ({kind}{', may be missing' if column['has_gaps'] else ''})"


def _epochs(description: Mapping[str, Any]) -> str:
    """For how many epochs members were trained, if not for all."""
    if "epochs" not in description:
        return ""
    planned = description["made"]["config"]["budget"]["epochs"]
    return (
        f" They were trained for {description['epochs']} of {planned} epochs, the median of those at which the final "
        "replicates were best on their validation parts."
    )


def _networks(description: Mapping[str, Any]) -> str:
    networks = description.get("networks", 1)
    return (
        ""
        if networks == 1
        else f" Each is an ensemble of {networks} networks, whose probabilities are averaged."
    )
