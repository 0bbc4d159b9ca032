"""A sweep beside what a paper published of the same experiment: the table, and what is left of each claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lossfleet.conf.metrics import sign_of
from lossfleet.conf.published import Better, Claim, Falls, Published, Untrained, words_of
from lossfleet.conf.rules import show
from lossfleet.sweeps.comparison.frame import Reproduction
from lossfleet.sweeps.comparison.settings import SPLIT, Measured, Settings
from lossfleet.sweeps.comparison.statistics import ALPHA, CorrectedT, corrected_t, holm, holm_levels
from lossfleet.sweeps.comparison.verdict import p_in_words

if TYPE_CHECKING:
    import pandas as pd

REPRODUCED, NOT_SHOWN, REFUTED = "Reproduced", "Not shown", "Refuted"
# What is the same on fewer splits is no finding.
FEWEST_SPLITS = 3
NONE = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Judged:
    """A claim in words, and what a sweep has of it.

    Fields: found, in words, before the mean of differences if there are any; differences, on each split, which a claim
    says are above 0 where `sign` is 1, and below 0 where it is -1; part, that they were measured on; among, of how many
    trials a setting is the best there; untested, what to say without two splits to test on.
    """

    claim: str
    found: str
    sign: int
    differences: np.ndarray
    part: str = "validation"
    among: int = 1
    untested: str = NOT_SHOWN

    @property
    def is_testable(self) -> bool:
        """Whether there are splits to test on."""
        return len(self.differences) > 1


def reproduce(frame: pd.DataFrame, published: Published) -> Reproduction:
    """Set a sweep beside what was published.

    Args:
        frame: the replicates of the sweep, as `frame.frame` gives them; some are final.
        published: of the same experiment.

    Returns:
        Of each row of the paper the best trial here: the metric with its standard deviation over replicates, and what
        was sampled. Of each claim whether it is reproduced, refuted or neither, by the corrected t-test of differences
        by split with Holm's correction for the claims; intervals are at the levels of Holm's procedure.
    """
    settings = Settings(frame)
    header = [
        *published.by,
        *(f"{name} {where}" for name in published.columns for where in ("here", "published")),
    ]
    rows = []
    for row in published.rows:
        found = settings.find({name: row[name] for name in published.by})
        cells = [str(row[name]) if isinstance(row[name], str) else show(row[name]) for name in published.by]
        for name in published.columns:
            cells += ["no result" if found is None else _here(found, name), _as_printed(name, row[name])]
        rows.append(cells)
    judged = [judge(settings, claim) for claim in published.claims]
    return Reproduction(published.source, header, rows, _sentences(judged, settings))


def judge(settings: Settings, claim: Claim) -> Judged:
    """What a sweep has of a claim."""
    if isinstance(claim, Better):
        return _better(settings, claim)
    return _falls(settings, claim) if isinstance(claim, Falls) else _untrained(settings, claim)


def _better(settings: Settings, claim: Better) -> Judged:
    metric = settings.metric
    first, second = settings.find(claim.better), settings.find(claim.than)
    said = f"{metric} is better with {words_of(claim.better)} than with {words_of(claim.than)}"
    if first is None or second is None:
        lacking = words_of(claim.better if first is None else claim.than)
        return Judged(said, f"no trial with {lacking} was completed", 1, NONE)
    scores = (first.scores(metric) - second.scores(metric)).dropna()
    if len(scores) < 2:
        return Judged(said, "they share no two splits", 1, NONE)
    found = f"{first.text(metric)} and {second.text(metric)}, a difference of"
    among = max(first.among, second.among)
    return Judged(said, found, sign_of(metric), scores.to_numpy(float), first.part, among)


def _falls(settings: Settings, claim: Falls) -> Judged:
    """By Spearman's correlation on each split of a hyperparameter with the best value of another one."""
    from scipy import stats

    metric = settings.metric
    said = f"the best {claim.falls} falls as {claim.over} rises"
    names = [f"params.{claim.over}", f"params.{claim.falls}"]
    rows = settings.completed({})
    rows = rows.dropna(subset=names) if {*names} <= {*rows} else rows[:0]
    if rows.empty or rows[names].nunique().min() < 2:
        return Judged(said, "there are not two values of each", -1, NONE)
    correlations = []
    for _, part in rows.groupby(SPLIT):
        table = part.assign(score=sign_of(metric) * part[f"validation_{metric}"])
        best = table.loc[table.groupby(names[0])["score"].idxmax()]
        is_constant = best[names].nunique().min() < 2
        correlations.append(0.0 if is_constant else float(stats.spearmanr(*best[names].to_numpy(float).T)[0]))
    return Judged(said, "the rank correlation of the two on each split is", -1, np.array(correlations))


def _untrained(settings: Settings, claim: Untrained) -> Judged:
    metric, words = settings.metric, words_of(claim.untrained)
    sign = sign_of(metric)
    said = f"{words} does not train, {metric} stays {'below' if sign > 0 else 'above'} {claim.below:g}"
    found = settings.find(claim.untrained)
    if found is None:
        if failed := settings.failed(claim.untrained):
            trials = "the only trial" if failed == 1 else f"all {failed} trials"
            return Judged(said, f"{trials} failed", -sign, NONE, untested=REPRODUCED)
        return Judged(said, "no trial was completed", -sign, NONE)
    text = f"{found.text(metric)}, a difference of"
    differences = found.scores(metric).to_numpy(float) - claim.below
    return Judged(said, text, -sign, differences, found.part, found.among)


def _sentences(judged: Sequence[Judged], settings: Settings) -> list[str]:
    """A sentence a claim, then how they were tested."""
    p = np.array([_tested(each, settings).p for each in judged])
    corrected, levels = holm(p), holm_levels(p)
    said = []
    for each, p_holm, level in zip(judged, corrected, levels, strict=True):
        said.append(_sentence(each, _tested(each, settings, level), p_holm))
    tested = [each for each in judged if each.is_testable]
    if not tested:
        return said
    parts = " and ".join(
        f"{len(part[0].differences)} {name} splits"
        for name in ("validation", "test")
        if (part := [each for each in tested if each.part == name])
    )
    correction = f", Holm's correction for {len(tested)} claims" if len(tested) > 1 else ""
    said.append(f"This is the corrected t-test of differences on {parts}{correction}.")
    among = max(each.among for each in tested)
    if among > 1:
        said.append(
            f"A setting stands by the best of its trials, up to {among}, chosen on the splits that it is judged on."
        )
    return said


def _tested(judged: Judged, settings: Settings, level: float = ALPHA) -> CorrectedT:
    if not judged.is_testable:
        return CorrectedT(math.nan, math.nan, math.nan, math.nan)
    return corrected_t(judged.differences, **settings.rows(judged.part), alpha=level)


def _sentence(judged: Judged, test: CorrectedT, p_holm: float) -> str:
    if not len(judged.differences):
        return f"{judged.untested}: {judged.claim}: {judged.found}."
    mean = float(judged.differences.mean())
    if not judged.is_testable:
        return f"{judged.untested}: {judged.claim}: {judged.found} {mean:.3f} on one split, which allows no test."
    if math.isnan(test.p):
        is_shown = mean != 0 and len(judged.differences) >= FEWEST_SPLITS
        tested = f"{mean:.3f} on every split"
    else:
        is_shown = p_holm < ALPHA
        tested = f"{mean:.3f} (95 % interval {test.low:.3f} to {test.high:.3f}, {p_in_words(p_holm)})"
    verdict = NOT_SHOWN
    if is_shown:
        verdict = REPRODUCED if mean * judged.sign > 0 else REFUTED
    return f"{verdict}: {judged.claim}: {judged.found} {tested}."


def _here(found: Measured, name: str) -> str:
    """What was measured, or sampled where the name is that of a hyperparameter."""
    if "." not in name:
        return found.text(name)
    value: Any = found.replicates.iloc[0].get(f"params.{name}")
    return "" if value is None or value != value else f"{value:g}" if isinstance(value, float) else str(value)


def _as_printed(name: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) and "." not in name else str(value)
