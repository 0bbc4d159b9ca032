"""The main job: search every strategy, evaluate the best trials on fresh splits, say who wins."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from lossfleet.conf.errors import Failure, remedy
from lossfleet.conf.metrics import WEIGHED
from lossfleet.runners.data.loading import tell_notes, tell_small_classes
from lossfleet.runners.environment import environment
from lossfleet.runners.records import (
    JOURNAL_FILE,
    EndRecord,
    EngineRecord,
    Journal,
    Record,
    SweepRecord,
    TrialRecord,
)
from lossfleet.runners.tracking.store import require_active, tracking_uri
from lossfleet.runners.tracking.writer import Writer, start_writer
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.keeping.keeper import Keeper
from lossfleet.sweeps.planning.plan import Plan, total_trials
from lossfleet.sweeps.report.conclusion import conclude, import_conclusion
from lossfleet.sweeps.report.images import draw_examples
from lossfleet.sweeps.report.speed import speed_metrics, speed_sentence
from lossfleet.sweeps.running.folder import (
    STUDIES,
    continuation,
    locked,
    set_aside,
    store_configuration,
)
from lossfleet.sweeps.running.interrupts import uninterrupted
from lossfleet.sweeps.running.progress import SweepProgress
from lossfleet.sweeps.running.references import References
from lossfleet.sweeps.running.size import check_fusion, choose_native, unfused_remark
from lossfleet.sweeps.search.stopping import remarks

# Seconds that an interrupted sweep waits for MLflow; the writer goes on in the background.
PATIENCE_WHEN_INTERRUPTED = 1.5


def run_sweep(plan: Plan, *, fresh: bool = False) -> bool:
    """Run a sweep, or continue it to its defined total, and print its table and sentence.

    Args:
        plan: what to search and how.
        fresh: start anew; what the folder of the sweep holds is moved aside.

    Returns:
        Whether no trial ended with an exception.

    Raises:
        UserError: this machine cannot fuse kernels or have the native core as asked, the data cannot be split as
            asked, another process runs this sweep, or its name stands for another configuration.
        Failure: the folder cannot be written, a training process died twice, or no trial was completed.
    """
    factory = ReplicateFactory.of(plan.studies[0].config)
    check_fusion(plan, factory)
    asked, plan = plan, choose_native(plan)
    split = factory.split(plan.budget.search_seeds[0], 0)
    tell_notes(plan.data, factory.dataset, split)
    tell_small_classes(factory.dataset, split)
    if plan.data.has_scenes:
        print(
            "detectors find objects: there are no references, no decisions and no mistakes.csv",
            file=sys.stderr,
        )
    if factory.dataset.weights is not None:
        _tell_unweighed(plan)
    if (remark := unfused_remark(asked, factory)) is not None:
        print(remark, file=sys.stderr)
    if plan.tracking.enabled:
        if plan.tracking.experiment and plan.tracking.experiment == os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            print(
                f"MLFLOW_EXPERIMENT_NAME: runs go to the experiment {plan.tracking.experiment}",
                file=sys.stderr,
            )
        require_active(tracking_uri(plan.tracking.uri), plan.tracking.experiment or plan.data.label)
    folder = STUDIES / plan.sweep
    try:
        if fresh:
            set_aside(folder)
        with locked(folder):
            return run_in_folder(plan, factory, folder)
    except OSError as error:
        raise Failure(
            f"{folder} cannot be written ({error}); what was finished is kept: {remedy(error)}, "
            "then the same command again continues"
        ) from error


def _tell_unweighed(plan: Plan) -> None:
    """Say on standard error which metrics of the user's count all rows alike."""
    for metric in plan.search.users_metrics:
        if not metric.weighs:
            print(
                f"metric {metric.part.name} counts all rows alike: it takes none of {', '.join(sorted(WEIGHED))}",
                file=sys.stderr,
            )


def run_in_folder(plan: Plan, factory: ReplicateFactory, folder: Path) -> bool:
    """Run the sweep in its folder, which this process has to itself, while a writer follows for MLflow."""
    from lossfleet.sweeps.running.processes import wait_for_trainers

    wait_for_trainers(folder)
    store_configuration(folder / "config.yaml", plan)
    journal = Journal(folder / JOURNAL_FILE)
    records = journal.read()
    if not any(isinstance(record, SweepRecord) for record in records):
        dataset = factory.dataset.describe()
        journal.append(
            SweepRecord(plan.sweep, plan.data.label, plan.to_dict(), environment(), time.time(), dataset)
        )
    elif (continued := continuation(records, plan)) is not None:
        journal.append(continued)
    draw_examples(factory.dataset, folder)
    writer = None
    keeper = Keeper(plan, factory.dataset, folder)
    end = EndRecord("FAILED", time.time(), "", "")
    try:
        if plan.tracking.enabled:
            with uninterrupted():
                writer = start_writer(folder, plan.tracking.uri, plan.tracking.experiment or plan.data.label)
        with References(plan, folder, records) as references:
            train(plan, factory, folder, records, keeper)
            references.wait()
        ended = journal.read()
        end = conclude(
            ended,
            folder,
            factory,
            compared=lambda found: keeper.order(found.best, found.sentence, ended),
            kept=lambda: keeper.wait(ended),
        )
        keeper.finish(ended)
        for remark in remarks(plan, ended):
            print(remark, file=sys.stderr)
        engines = [record for record in ended[len(records) :] if isinstance(record, EngineRecord)]
        if engines:
            print(speed_sentence(engines), file=sys.stderr)
            end = replace(end, metrics=end.metrics | speed_metrics(engines))
    except KeyboardInterrupt:
        end = EndRecord("KILLED", time.time(), "", "")
        raise
    finally:
        keeper.stop()
        try:
            journal.append(end)
        finally:
            journal.close()
            if writer is not None:
                deliver(writer, plan, is_interrupted=end.state == "KILLED")
    return not any(isinstance(record, TrialRecord) and record.error for record in ended)


def train(plan: Plan, factory: ReplicateFactory, folder: Path, records: list[Record], keeper: Keeper) -> None:
    """Train what the journal does not have yet: all trials, then each strategy's final evaluation."""
    from lossfleet.sweeps.running.processes import process_count, train_in_processes, train_studies

    total = sum(total_trials(study) + 1 for study in plan.studies)
    done = sum(isinstance(record, TrialRecord) for record in records)
    with SweepProgress(total, done) as progress:
        count = process_count(plan, factory)
        if count == 1:
            train_studies(plan, factory, folder, progress.finished)
        else:

            def prepare_end() -> None:
                keeper.start_ahead()
                import_conclusion()

            train_in_processes(plan, folder, count, progress.finished, prepare_end)


def deliver(writer: Writer, plan: Plan, *, is_interrupted: bool) -> None:
    """Wait until MLflow has everything, but not for long where a server is slow or away."""
    if is_interrupted:
        writer.finish(PATIENCE_WHEN_INTERRUPTED)
        return
    undelivered = writer.finish()
    if undelivered is not None:
        print(
            f"MLflow at {writer.place} does not have all runs of this sweep yet ({undelivered}); nothing is "
            f"lost: 'lossfleet sync {plan.sweep}' sends the rest",
            file=sys.stderr,
        )
