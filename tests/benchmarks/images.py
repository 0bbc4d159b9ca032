"""Milliseconds a step of a small convolutional network: the native core beside four forms in PyTorch."""

from __future__ import annotations

from tests.benchmarks.image_peers import BATCH, IMAGES, NETWORKS, SIZES, STEPS
from tests.benchmarks.measure import HAS_TORCH, NO_TORCH, Report, in_turn, median, peers

TORCH = ("image_eager", "image_eager_channels_last", "image_grouped", "image_vmap") if HAS_TORCH else ()


def run(quick: bool) -> list[Report]:
    """Every form in turn, round after round, for each network, size and number of models, on one core and on all."""
    settings = [("pool", 14, 1, 1)]
    if not quick:
        settings = [
            (network, size, models, cores)
            for network in NETWORKS
            for size in SIZES
            for models, cores in ((1, 1), (8, 1), (8, 2), (32, 2))
        ]
    rows: list[dict[str, object]] = []
    samples: dict[str, list[float]] = {}
    for network, size, models, cores in settings:
        seconds = measure(network, size, models, cores, 1 if quick else 5)
        # A process a core: each has its share of the models, and the slowest counts.
        ms = {form: 1000 * median(own) / (models * STEPS) for form, own in seconds.items()}
        samples |= {f"{form} {network} {size} K={models} {cores}": own for form, own in seconds.items()}
        columns: dict[str, object] = {
            "network": network,
            "pixels": size,
            "models": models,
            "cores": cores,
            "native": ms["image_native"],
        }
        if HAS_TORCH:
            best = min(ms[form] for form in TORCH)
            columns |= {
                "PyTorch eager": ms["image_eager"],
                "channels last": ms["image_eager_channels_last"],
                "grouped": ms["image_grouped"],
                "vmap": ms["image_vmap"],
                "PyTorch's best / native": best / ms["image_native"],
            }
        rows.append(columns)
    shapes = "; ".join(f"{name}: {channels}, {halving}" for name, (channels, halving) in NETWORKS.items())
    notes = (
        f"A step of one model: {BATCH} of {IMAGES} grey images, 3x3 convolutions with ReLU, a dense head of 10 "
        f"classes, focal loss, AdamW. Networks: {shapes}.",
        "Models are shared among processes that are pinned to a core each, PyTorch's with one thread each.",
        *(() if HAS_TORCH else (NO_TORCH,)),
    )
    return [Report("Images: ms a model-step", rows, notes, samples)]


def measure(network: str, size: int, models: int, cores: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of an epoch of all models, by form."""
    started = {
        form: (f"{form}-{network}-{size}", models, min(cores, models)) for form in ("image_native", *TORCH)
    }
    with peers(**started) as running:
        return in_turn(running, rounds)
