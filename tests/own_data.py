"""The data sets that come with lossfleet, without what the user brings."""

from __future__ import annotations

from lossfleet.conf.parts import named_part, part_names

OWN = tuple(
    name
    for name in part_names("data")
    if str(named_part("data", name).target).startswith("lossfleet.runners.data.builtin.")
)
