"""Most sweeps of tests compose these files, which takes a process two seconds for the first time: forks have them."""

from __future__ import annotations

from lossfleet.sweeps.planning.compose import run_sweeper

for arguments in (
    ("data=wine", "strategy=ce,focal", "search=random", "pruner=none"),
    ("data=wine", "strategy=ce,ohem,focal"),
):
    run_sweeper(arguments, lambda plan: None)
