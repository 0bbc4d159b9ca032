"""Milliseconds an epoch of every strategy, as a sweep trains it, beside focal loss in the same engine."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from lossfleet.conf.parts import part_names
from lossfleet.conf.schema import Config
from tests.benchmarks.measure import Report, median
from tests.benchmarks.work import configuration, factory

ROUNDS, SLOTS = 5, 8
FOCAL = "focal"


def run(quick: bool) -> list[Report]:
    """All strategies in turn, round after round, in one process."""
    names = (FOCAL, "asymmetric", "crt", "under_bagging") if quick else part_names("strategy")
    data = "wine" if quick else "page_blocks"
    epochs = "budget.epochs=4" if quick else "budget.epochs=30"
    configs = {
        name: configuration(f"strategy={name}", f"data={data}", epochs, "budget.rungs=1") for name in names
    }
    engines = {name: engine_of(config) for name, config in configs.items()}
    timed = dict.fromkeys((*((FOCAL, engine) for engine in set(engines.values())), *engines.items()))
    seconds = measure({key: configs[key[0]] for key in timed}, 1 if quick else ROUNDS)
    rows = [
        {
            "strategy": name,
            "engine": engine,
            "ms an epoch": 1000 * median(seconds[name, engine]),
            f"/ {FOCAL}": median(
                [
                    own / focal
                    for own, focal in zip(seconds[name, engine], seconds[FOCAL, engine], strict=True)
                ]
            ),
        }
        for name, engine in engines.items()
    ]
    notes = (
        f"An epoch of one of {SLOTS} replicates that are trained whole on {data}: medians of {1 if quick else ROUNDS} "
        "rounds in which the strategies take turns; the ratio is the median of the rounds' ratios.",
        "What is drawn for an epoch is part of it; what is made before the first, such as SMOTE's rows, is not.",
        f"crt and lws: both stages, and what is between them. In graphs {FOCAL} loss is trained in graphs too.",
    )
    return [Report("Methods: ms an epoch", rows, notes, {" ".join(key): own for key, own in seconds.items()})]


def engine_of(config: Config) -> str:
    """Who trains a configuration."""
    from lossfleet.runners.training.native.fleet import trains_natively

    return "native" if trains_natively(shape(config), "auto") else "graph"


def shape(config: Config) -> Any:
    """What shapes the training of a configuration."""
    from lossfleet.runners.training.shape import shape_of

    split = factory(config.data).split(0, 0)
    return shape_of(
        config,
        features=split.train_features.shape[1],
        classes=len(split.class_counts),
        train_rows=split.draws,
    )


def measure(configs: dict[tuple[str, str], Config], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of an epoch of a replicate, by strategy and engine, in every round."""
    from lossfleet.runners.training.build import build_slots

    trained, replicates = {}, {}
    for (name, engine), config in configs.items():
        made = factory(config.data)
        replicates[name, engine] = [made.replicate(config, seed=seed, split=0) for seed in range(SLOTS)]
        trained[name, engine] = build_slots(
            shape(config),
            native=engine == "native",
            slots=SLOTS,
            pages=SLOTS,
            page_rows=max(len(each.labels) for each in replicates[name, engine]),
            evaluation_rows=1,
        )
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    # The first round compiles.
    for number in range(rounds + 1):
        for key, slots in trained.items():
            for slot, each in enumerate(replicates[key]):
                slots.enter(slot, each)
            start = time.perf_counter()
            for _ in range(configs[key].budget.epochs):
                slots.train_epoch()
            if number:
                seconds[key].append((time.perf_counter() - start) / (configs[key].budget.epochs * SLOTS))
            for slot in range(SLOTS):
                slots.leave(slot)
    return dict(seconds)
