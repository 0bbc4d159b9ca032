"""What every YAML file of every config group promises, ours and those of the examples."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lossfleet import conf
from lossfleet.conf.metrics import Metric
from lossfleet.conf.parts import GIVEN, Part
from lossfleet.conf.rules import Rule
from lossfleet.conf.schema import PART_GROUPS, SECTION_FIELDS, build_part
from lossfleet.sweeps.commands.folders import importable
from lossfleet.sweeps.planning.compose import run_sweeper, with_folders

CONF = Path(conf.__file__).parent
EXAMPLES = sorted(path for path in (CONF.parent / "examples").glob("*") if path.is_dir())
GROUPS = (*PART_GROUPS, *SECTION_FIELDS, "metric", "reference")
FILES = [
    pytest.param(folder, group, file, id=f"{folder.name}/{group}/{file.stem}")
    for folder in (CONF, *EXAMPLES)
    for group in GROUPS
    for file in sorted((folder / group).glob("*.yaml"))
]
# What the user brings has no defaults for what it is.
BROUGHT = {
    "csv": {"path": "table.csv", "target": "label"},
    **{name: {"path": "folder"} for name in ("images", "npz", "idx", "fer2013", "boxes")},
}


@pytest.mark.parametrize(("folder", "group", "file"), FILES)
def test_a_file_names_a_target_that_loads_and_settings_that_it_takes(folder, group, file):
    values = OmegaConf.to_container(OmegaConf.load(file))
    assert "_target_" in values
    values["name"] = file.stem
    if folder == CONF and group == "data":
        values |= BROUGHT.get(file.stem, {})
    with importable([] if folder == CONF else [str(folder)]):
        part = made(group, values)
        assert part.name == file.stem
        if part.target is None:
            assert group in ("mining", "mixing", "augmentation", "second_stage")
            assert part.settings == {}
            return
        assert callable(part.load())
        if group == "reference" or part.target.startswith("imblearn."):
            # Estimators check their settings themselves.
            return
        # The rules accept what the file says: it was made. They are read, not guessed.
        readable = {name for name, rule in part.rules().items() if rule.kind is not object}
        given_or_free = {"min_resource", "max_resource"}
        assert part.settings.keys() - readable <= given_or_free
        assert all(isinstance(rule, Rule) for rule in part.rules().values())
        # A target is given all that it names besides, or has a default for it.
        required = {name for name, each in part.signature.parameters.items() if each.is_required}
        assert required <= GIVEN.get(group, frozenset()) | part.arguments.keys()


def made(group: str, values: dict) -> Part:
    if group == "metric":
        return Metric.from_dict(values).part
    if group == "reference":
        return Part.from_dict(group, values)
    owner = build_part(group, values)
    return next(each for each in (owner, *vars(owner).values()) if isinstance(each, Part))


@pytest.mark.parametrize("file", sorted((CONF / "strategy").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_strategy_of_ours_can_be_planned(file):
    found: list = []
    run_sweeper([f"strategy={file.stem}"], found.append)
    assert found[0].studies[0].space


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_the_strategies_of_an_example_can_be_planned(folder):
    for file in sorted((folder / "strategy").glob("*.yaml")):
        found: list = []
        with importable([str(folder)]) as folders:
            run_sweeper(with_folders([f"strategy={file.stem}"], folders), found.append)
        assert found[0].studies[0].strategy == file.stem
