"""What a sweep may have that finds objects, which its data decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossfleet.conf.datasets import SCENES, Data
from lossfleet.conf.errors import UserError, gathering, raise_gathered
from lossfleet.conf.metrics import find_metric
from lossfleet.conf.parts import Part
from lossfleet.conf.searching import Search

# Of the groups that differ what stands in the place of a wrong part: where there are objects, and where there are none.
PARTS = {"model": ("retinanet", "mlp"), "loss": ("detection_focal", "focal"), "mining": ("none", "none")}
METRICS = ("ap", "balanced_accuracy")
# What two stages have and one does not.
TWO_STAGES, SAMPLED = f"{SCENES}parts.two_stage", f"{SCENES}parts.detection_sampled"
# What a detector cannot have yet: of groups any part, of settings any other value.
WITHOUT = ("mixing", "augmentation", "second_stage")
USUAL = {"members": 1, "defer": 0.0, "decision": "argmax", "references": []}


def finds_objects(part: Part) -> bool:
    """Whether a model, loss or mining is of detectors."""
    return part.target is not None and part.target.startswith(SCENES)


def check_task(data: Data, search: Search, parts: Mapping[str, Part], settings: Mapping[str, Any]) -> None:
    """Checks that a configuration is of objects to find, or of rows to classify, and has nothing of the other task.

    Args:
        data: it decides which.
        search: what is searched for.
        parts: by group.
        settings: the values of those that `USUAL` names.

    Raises:
        UserError: parts, metrics or settings that the data cannot have, all at once.
    """
    # Alone: the strategy of the other task brings the rest with it.
    _check_parts(data, parts)
    faults = _wrong_metrics(data, search)
    if data.has_scenes:
        with gathering(faults):
            _check_stages(parts)
        faults += _left_out(data, parts, settings)
    raise_gathered(faults)


def _check_parts(data: Data, parts: Mapping[str, Part]) -> None:
    # No mining is of both.
    wrong = [
        group
        for group in PARTS
        if parts[group].target is not None and finds_objects(parts[group]) != data.has_scenes
    ]
    if not wrong:
        return
    what = f"{' '.join(f'{group}={parts[group].name}' for group in wrong)} on data={data.name}"
    mend = " ".join(f"{group}={_right(group, data, parts)}" for group in wrong)
    if data.has_scenes:
        raise UserError(
            what=f"{what}, which has boxes around objects",
            expected="a detector and its losses",
            hint="write strategy=retinanet_focal,retinanet_ce" if len(wrong) > 1 else f"write {mend}",
        )
    raise UserError(
        what=f"{what}, which has a class a row",
        expected="images with boxes around objects, data=scenes or data=boxes",
        hint="write data=scenes, or a strategy of rows such as strategy=focal"
        if len(wrong) > 1
        else f"write {mend}",
    )


def _right(group: str, data: Data, parts: Mapping[str, Part]) -> str:
    """What is to stand in the place of a wrong part."""
    if data.has_scenes and group == "loss" and parts["model"].target == TWO_STAGES:
        return "detection_sampled"
    return PARTS[group][0 if data.has_scenes else 1]


def _check_stages(parts: Mapping[str, Part]) -> None:
    model, loss, mining = (parts[group] for group in ("model", "loss", "mining"))
    has_two = model.target == TWO_STAGES
    if has_two != (loss.target == SAMPLED):
        stages = (
            "two stages, which learn of regions" if has_two else "one stage, which learns of every anchor"
        )
        raise UserError(
            what=f"loss={loss.name} with model={model.name}, of {stages}",
            expected="detection_sampled with model=two_stage, and no other loss with it",
            hint=f"write loss={'detection_sampled' if has_two else PARTS['loss'][0]}",
        )
    if has_two and mining.target is not None:
        raise UserError(
            what=f"mining={mining.name} with model={model.name}, whose examples are drawn by chance",
            expected="mining=none",
            hint="write mining=none",
        )


def _wrong_metrics(data: Data, search: Search) -> list[UserError]:
    return [
        UserError(
            what=f"the search uses {name} on data={data.name}",
            expected="a metric of objects" if data.has_scenes else "a metric of classes of rows",
            hint=f"write search.metric={METRICS[0 if data.has_scenes else 1]}",
        )
        for name in (*search.objectives, *(each.metric for each in search.constraints))
        if find_metric(name, search.all_metrics).is_of_objects != data.has_scenes
    ]


def _left_out(data: Data, parts: Mapping[str, Part], settings: Mapping[str, Any]) -> list[UserError]:
    wrong: dict[str, tuple[Any, Any]] = {
        group: (parts[group].name, "none") for group in WITHOUT if parts[group].target is not None
    }
    sampler = parts["sampler"]
    if sampler.is_estimator or "features" in sampler.inputs():
        wrong["sampler"] = (sampler.name, "shuffle")
    for name, usual in USUAL.items():
        if settings[name] != usual:
            wrong[name] = (settings[name], usual)
    return [
        UserError(
            what=f"{name}={_written(value)} on data={data.name}, whose objects a detector finds",
            expected=f"{name}={_written(usual)}, as long as a detector has no other",
            hint=f"write {name}={_written(usual)}",
        )
        for name, (value, usual) in wrong.items()
    ]


def _written(value: Any) -> str:
    """As it is written on a command line."""
    return (
        f"[{','.join(value)}]"
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
