"""A nested evaluation: the sweeps of its outer parts as one, a score each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lossfleet.sweeps.comparison.evaluated import POOL
from lossfleet.sweeps.comparison.frame import FIELDS, is_diverged, latest_finals
from lossfleet.sweeps.comparison.references import latest_references

if TYPE_CHECKING:
    import pandas as pd

# The search of one outer part is none of the whole: of each only the trial is left that was evaluated.
CHOSEN = "chosen"


def join_outer_parts(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the outer parts of each nested evaluation in the place of their replicates.

    Replicates of one outer part are tested on the same rows, and were chosen by one search: they are averaged, and
    outer parts are what strategies are compared on. An outer part of which there is no other stays as it is.

    Args:
        frame: as `frame.frame` gives it.

    Returns:
        For each strategy or reference and outer part a row of stage final or reference with the means of the metrics
        over the replicates that have them, and one of stage CHOSEN with those of the search of the trial that was
        evaluated. `sweep` is the name of the nested evaluation, `replicate` and `split` are the outer part, `state`
        is FAIL where a replicate diverged that counts as chance. Hyperparameters are those of all outer parts.
    """
    import pandas as pd

    several = frame["nested"].ne("") & (frame.groupby("nested")["outer_part"].transform("nunique") > 1)
    if not several.any():
        return frame
    joined: list[dict[str, Any]] = []
    for _, nested in frame[several].groupby(["data", "nested"]):
        final = latest_finals(nested) if (nested["stage"] == "final").any() else nested[:0]
        evaluated = pd.MultiIndex.from_frame(final[["sweep", "strategy", "trial"]])
        search = nested[nested["stage"] == "search"]
        trials = pd.MultiIndex.from_frame(search[["sweep", "strategy", "trial"]])
        chosen = search[trials.isin(evaluated)].assign(stage=CHOSEN)
        for rows in (chosen, final, latest_references(nested)):
            for _, strategy in rows.groupby("strategy"):
                params = _in_all_parts(strategy)
                joined += [_mean(part) | params for _, part in strategy.groupby("outer_part")]
    table = pd.DataFrame(joined, columns=frame.columns)
    return pd.concat([frame[~several], table], ignore_index=True) if (~several).any() else table


def outer_parts_of(final: pd.DataFrame) -> tuple[int, int] | None:
    """How many outer parts were joined of how many that there are to be; None where none were."""
    if not len(final) or final["sweep"].iloc[0] != final["nested"].iloc[0]:
        return None
    return final["outer_part"].nunique(), int(final["outer_parts"].iloc[0])


def _mean(part: pd.DataFrame) -> dict[str, Any]:
    """The row of an outer part of a strategy."""
    measured = part[part["state"].eq("COMPLETE") | is_diverged(part)]
    names = [name for name in part if name not in FIELDS and not name.startswith(("params.", "curves."))]
    first = part.iloc[0]
    number = first["outer_part"]
    row = {name: first[name] for name in FIELDS} | {name: () for name in part if name.startswith("curves.")}
    row |= {"sweep": first["nested"], "trial": 0, "replicate": number, "seed": 0, "split": number}
    # A front is one of each search.
    row |= {"objectives": "", "started": part["started"].min(), "ended": part["ended"].max()}
    row["state"] = "COMPLETE" if measured["state"].eq("COMPLETE").all() and len(measured) else "FAIL"
    # Of all outer parts, test parts are drawn from all rows.
    return row | {name: measured[name].mean() for name in names if name != POOL}


def _in_all_parts(strategy: pd.DataFrame) -> dict[str, Any]:
    """Each hyperparameter of a strategy: its value, or what it was in the outer parts."""
    found = {name: strategy[name].dropna().unique() for name in strategy if name.startswith("params.")}
    return {
        name: values[0] if len(values) == 1 else _range(values)
        for name, values in found.items()
        if len(values)
    }


def _range(values: Iterable[Any]) -> str:
    values = sorted(values, key=lambda value: (isinstance(value, str), value))
    if any(isinstance(value, (str, bool)) for value in values):
        return "|".join(map(str, values))
    return f"{values[0]:.3g}..{values[-1]:.3g}"
