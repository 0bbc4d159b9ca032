"""What all benchmarks share: timed commands, peers that take turns, and tables."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Whether the peers of PyTorch can run, and what a table says where they cannot.
HAS_TORCH = find_spec("torch") is not None
NO_TORCH = "PyTorch is not installed (pip install 'lossfleet[bench]'), so its peers are left out."
# Time for the threads of the peer before to fall asleep.
PAUSE = 0.1
LOSSFLEET = (sys.executable, "-m", "lossfleet.sweeps.commands.cli")


@dataclass(frozen=True)
class Report:
    """What a benchmark found: a table, notes on how to read it, and every single measurement."""

    title: str
    rows: list[dict[str, Any]]
    notes: tuple[str, ...]
    samples: Mapping[str, list[float]] = field(default_factory=dict)

    def markdown(self) -> str:
        """The title, the table and the notes."""
        return "\n\n".join(
            [f"## {self.title}", table(self.rows), "\n".join(f"- {note}" for note in self.notes)]
        )


@dataclass(frozen=True)
class Finished:
    """A command that has ended: wall time, exit code, output, and the peak memory of its largest process."""

    seconds: float
    code: int
    output: str
    peak_mebibytes: float


def command_environment(cache: Path | None = None) -> dict[str, str]:
    """The environment of a command that runs in a folder of its own; its cache is the user's or the given one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    own = {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    return kept | own | ({} if cache is None else {"XDG_CACHE_HOME": str(cache)})


def run_command(arguments: Sequence[str], folder: Path, *, expected_code: int = 0) -> Finished:
    """Run a command in a folder and measure it.

    Raises:
        RuntimeError: the exit code is not the expected one.
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            arguments, cwd=folder, env=command_environment(), stdout=output, stderr=subprocess.STDOUT
        )
        # Only wait4 tells the peak of this child and of those that it waited for.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode != expected_code:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{text[-3000:]}")
    return Finished(seconds, process.returncode, text, usage.ru_maxrss / 1024)


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder for the state of a command."""
    with tempfile.TemporaryDirectory(prefix="lossfleet-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class Peer:
    """Processes of `tests.benchmarks.peers` that train some epochs when asked and answer their seconds.

    Every peer has processes of its own, since frameworks in one process share and fight over threads. `processes`
    that share the models are pinned to a core each; None is one process with all cores.
    """

    # Long enough that reading the clock and answering do not count.
    SHORTEST_MEASUREMENT = 0.3

    def __init__(self, name: str, models: int = 1, processes: int | None = None) -> None:
        count = processes or 1
        shares = [models // count + (index < models % count) for index in range(count)]
        cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
        self._processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.benchmarks.peers", name, str(share)),
                    *([cores[index % len(cores)]] if processes else []),
                ],
                cwd=ROOT,
                env=command_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for index, share in enumerate(shares)
        ]
        self._ask(1)  # compiles and warms up
        self._epochs = max(1, round(self.SHORTEST_MEASUREMENT / self._ask(1)))

    def seconds(self) -> float:
        """Seconds of one epoch of all its models; the slowest process decides."""
        return self._ask(self._epochs) / self._epochs

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()

    def _ask(self, epochs: int) -> float:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{epochs}\n")
            process.stdin.flush()
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            answer = process.stdout.readline()
            if not answer:
                raise RuntimeError(f"{process.args!r} ended with {process.wait()}")
            answers.append(float(answer))
        return max(answers)


@contextmanager
def peers(**arguments: tuple[Any, ...]) -> Iterator[dict[str, Peer]]:
    """Peers by name, each made of these arguments; they are ended at the end."""
    started: dict[str, Peer] = {}
    try:
        for name, own in arguments.items():
            started[name] = Peer(*own)
        yield started
    finally:
        for peer in started.values():
            peer.close()


def in_turn(running: Mapping[str, Peer], rounds: int) -> dict[str, list[float]]:
    """Seconds of each peer, round after round."""
    seconds: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, peer in running.items():
            time.sleep(PAUSE)
            seconds[name].append(peer.seconds())
    return seconds


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as a Markdown table."""
    lines = [
        list(rows[0]),
        ["---"] * len(rows[0]),
        *([show(value) for value in row.values()] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(value: Any) -> str:
    """A cell: three significant digits, whole numbers in full."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def median(values: Sequence[float]) -> float:
    """The median."""
    return float(statistics.median(values))
