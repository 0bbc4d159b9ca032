"""How fast a sweep trained: where an engine's time goes, and what is said of it in a line and as metrics."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lossfleet.runners.records import EngineRecord


class Stopwatch:
    """Seconds of wall time by what they were spent on; parts do not overlap."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time inside for this part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start


def speed_metrics(engines: Sequence[EngineRecord]) -> dict[str, float]:
    """Slot occupancy, replicate-epochs, and the seconds that all engines together spent on each part.

    Args:
        engines: the records of one run of a sweep, at least one.
    """
    parts = dict.fromkeys(part for engine in engines for part in engine.seconds)
    seconds = {f"seconds_{part}": sum(engine.seconds.get(part, 0.0) for engine in engines) for part in parts}
    occupied = sum(engine.occupied_slot_epochs for engine in engines)
    return {
        "replicate_epochs": float(occupied),
        "slot_occupancy": occupied / max(1, sum(engine.slot_epochs for engine in engines)),
        "engine_seconds": wall_seconds(engines),
        **seconds,
    }


def speed_sentence(engines: Sequence[EngineRecord]) -> str:
    """The line that a sweep ends with.

    Args:
        engines: the records of one run of a sweep, at least one.
    """
    metrics = speed_metrics(engines)
    sizes = Counter(slots for engine in engines for slots in engine.slots)
    fleets = " and ".join(
        f"{count} {'fleet' if count == 1 else 'fleets'} of {slots} {'slot' if slots == 1 else 'slots'}"
        for slots, count in sizes.items()
    )
    natively = sum(each for engine in engines for each in engine.native)
    native = f"{natively} of them native, " if natively else ""
    return (
        f"{metrics['replicate_epochs']:,.0f} epochs of replicates in {metrics['engine_seconds']:.1f} s, "
        f"{len(engines)} {'process' if len(engines) == 1 else 'processes'}, "
        f"{fleets or 'no fleet'}, {metrics['slot_occupancy']:.0%} occupied, "
        f"{native}{'fused kernels, ' if all(engine.fused for engine in engines) else ''}"
        f"compilation {metrics['seconds_compile']:.1f} s"
    )


def wall_seconds(engines: Sequence[EngineRecord]) -> float:
    """From the start of the first engine to the end of the last."""
    return max(engine.ended for engine in engines) - min(engine.started for engine in engines)
