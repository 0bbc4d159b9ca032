"""Runs benchmarks, prints a table each and writes JSON: `python -m tests.benchmarks [NAME ...] [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from lossfleet.runners.environment import environment, processor, version
from tests.benchmarks.measure import Report

# `scaling` needs what the tests need, PostgreSQL among it; `optimism` is no measurement of speed.
DEFAULT = (
    *("kernel", "latency", "growth", "searching", "sweep", "losses", "methods", "images", "detection"),
    "large_table",
)
NAMES = (*DEFAULT, "scaling", "optimism")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"some of {', '.join(NAMES)} ({', '.join(DEFAULT)})"
    )
    parser.add_argument("--quick", action="store_true", help="small settings: does it run?")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results.json"))
    options = parser.parse_args()
    names = options.names or DEFAULT
    if unknown := set(names) - set(NAMES):
        parser.error(
            f"there is no benchmark {', '.join(sorted(unknown))}; expected some of {', '.join(NAMES)}"
        )

    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    machine = f"{processor()}, {os.cpu_count()} cores"
    print(f"# lossfleet benchmarks\n\n{date}, {machine}{', quick' if options.quick else ''}", flush=True)
    reports: dict[str, list[Report]] = {}
    for name in names:
        reports[name] = importlib.import_module(f"tests.benchmarks.{name}").run(options.quick)
        for report in reports[name]:
            print(f"\n{report.markdown()}", flush=True)
        # After each, so that a long run that is stopped keeps what it has.
        results = {
            "date": date,
            "machine": machine,
            "quick": options.quick,
            "environment": environment() | {"torch": version("torch")},
            "benchmarks": {each: [asdict(report) for report in own] for each, own in reports.items()},
        }
        options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
