"""Several sweeps on one data set: what sets them apart, and which of them are evidence of their own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

# Between a data set and what sets a sweep on it apart.
WITH = " with "
# Behind the name of a file stands a digest of what is in it.
DIGEST = re.compile(r"-[0-9a-f]{8}$")


def block_names(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """What each sweep is filed under.

    Args:
        rows: of `lossfleet.runners.tracking.replicates`, with data, sweep, nested and settings.

    Returns:
        By data set and sweep; the outer parts of a nested evaluation count as one sweep and have its name. The data
        set where it has one sweep; else with the settings that differ, for example `wine with
        long_tail=10`, and with the name of the sweep where these are not enough.
    """
    settings: dict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
    for row in rows:
        settings[row["data"]].setdefault(row["nested"] or row["sweep"], row["settings"])
    names = {}
    for data, sweeps in settings.items():
        differing = _differing(list(sweeps.values()))
        labels = {
            sweep: [f"{_short(name)}={_value(own, name)}" for name in differing]
            for sweep, own in sweeps.items()
        }
        if len({tuple(label) for label in labels.values()}) < len(labels):
            labels = {sweep: [*label, f"sweep={sweep}"] for sweep, label in labels.items()}
        for sweep, label in labels.items():
            names[data, sweep] = f"{data}{WITH}{' '.join(label)}" if len(sweeps) > 1 else data
    return names


def data_set_of(name: str) -> str:
    """The data set of a block."""
    return name.partition(WITH)[0]


def block_of(name: str) -> str:
    """What sets a block apart from others on its data set; empty where nothing does."""
    return name.partition(WITH)[2]


def family_of(name: str, families: Mapping[str, str]) -> str:
    """What a block counts as where data sets are the evidence: blocks of one data set, and versions of a file, as one.

    Args:
        name: of a block or a data set.
        families: data set to family.
    """
    data = data_set_of(name)
    return families.get(name) or families.get(data) or DIGEST.sub("", data)


def versions_of_files(names: Iterable[str], families: Mapping[str, str]) -> list[list[str]]:
    """The data sets that count as one because they are versions of one file, file by file."""
    files: dict[str, list[str]] = defaultdict(list)
    for data in dict.fromkeys(map(data_set_of, names)):
        if DIGEST.search(data) and data not in families:
            files[family_of(data, families)].append(data)
    return [versions for versions in files.values() if len(versions) > 1]


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once, those with numbers by these: 10 before 100."""

    def key(name: str) -> list[tuple[bool, float, str]]:
        parts = re.split(r"(\d+(?:\.\d+)?)", name)
        # Every other part is a number.
        return [(index % 2 == 0, float(part) if index % 2 else 0.0, part) for index, part in enumerate(parts)]

    return sorted(set(names), key=key)


def _differing(settings: list[Mapping[str, str]]) -> list[str]:
    names = dict.fromkeys(name for each in settings for name in each)
    differing = [name for name in names if len({each.get(name) for each in settings}) > 1]
    # Another model has other settings; which one it is says it all.
    if "model.name" in differing:
        differing = [name for name in differing if name == "model.name" or not name.startswith("model.")]
    return differing


def _short(name: str) -> str:
    return name.removesuffix(".name").rpartition(".")[2]


def _value(settings: Mapping[str, str], name: str) -> str:
    return settings.get(name, "null").replace(" ", "").removesuffix(".0")
