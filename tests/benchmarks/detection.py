"""Milliseconds a training step of a small RetinaNet: the native core beside PyTorch, on one core."""

from __future__ import annotations

from tests.benchmarks.detection_peers import BATCHES, IMAGES, NETWORKS
from tests.benchmarks.measure import HAS_TORCH, NO_TORCH, Report, in_turn, median, peers

TORCH = ("detection_eager", "detection_eager_channels_last") if HAS_TORCH else ()


def run(quick: bool) -> list[Report]:
    """Every form in turn, round after round, for each network and batch size."""
    settings = [("small", 16)] if quick else [(name, batch) for name in NETWORKS for batch in BATCHES]
    rows: list[dict[str, object]] = []
    samples: dict[str, list[float]] = {}
    for network, batch in settings:
        seconds = measure(network, batch, 1 if quick else 7)
        ms = {form: 1000 * median(own) * batch / IMAGES for form, own in seconds.items()}
        samples |= {f"{form} {network} {batch}": own for form, own in seconds.items()}
        columns: dict[str, object] = {
            "network": network,
            "anchors": NETWORKS[network].anchor_count,
            "batch": batch,
            "native": ms["detection_native"],
        }
        if HAS_TORCH:
            eager, last = (ms[form] for form in TORCH)
            columns |= {
                "PyTorch eager": eager,
                "channels last": last,
                "eager / native": eager / ms["detection_native"],
                "channels last / native": last / ms["detection_native"],
            }
        rows.append(columns)
    described = "; ".join(
        f"{name}: body {each.body}, {each.parameter_count:,} parameters, {each.classes} classes"
        for name, each in NETWORKS.items()
    )
    notes = (
        "A step on grey scenes of 64 x 64 pixels with targets computed before: focal loss, smooth L1, AdamW; three "
        f"levels of 16 channels, heads of one hidden convolution. Networks: {described}.",
        "Each in a process of its own that is pinned to a core, PyTorch with one thread.",
        *(() if HAS_TORCH else (NO_TORCH,)),
    )
    return [Report("Detection: ms a step", rows, notes, samples)]


def measure(network: str, batch: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of an epoch, by form."""
    started = {form: (f"{form}-{network}-{batch}", 1, 1) for form in ("detection_native", *TORCH)}
    with peers(**started) as running:
        return in_turn(running, rounds)
