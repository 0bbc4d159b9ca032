"""Keeping a model of a sweep after its end."""

from __future__ import annotations

import sys

from lossfleet.conf.schema import Config
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.records import JOURNAL_FILE, EndRecord, Journal, Record
from lossfleet.runners.tracking.store import shown_uri, tracking_uri
from lossfleet.runners.tracking.writer import sync
from lossfleet.sweeps.commands.sync import data_label, first_study, sweep_folder
from lossfleet.sweeps.keeping.keep import MODELS, Order, final_evaluation, keep_strategies
from lossfleet.sweeps.running.folder import locked


def keep(sweep: str, *, strategy: str | None, members: int | None, uri: str | None) -> None:
    """Train the best configuration of a strategy on all rows, store it, and register it in MLflow.

    Args:
        sweep: the name of its folder.
        strategy: None for the winner.
        members: trainings; None for `keep.members`.
        uri: the tracking URI; None for that of the sweep's configuration, else as `tracking_uri` says.

    Raises:
        UserError: no such sweep or strategy, it is still running, or its data is not as it was.
        Failure: the training diverged, or MLflow does not take the model; it is in the sweep's folder then.
    """
    folder = sweep_folder(sweep)
    study = first_study(folder)
    with locked(folder):
        records = Journal(folder / JOURNAL_FILE).read()
        ends = [record for record in records if isinstance(record, EndRecord) and record.sentence]
        verdict = ends[-1].sentence if ends else ""
        chosen = strategy or best_strategy(records)
        config = Config.from_dict(final_evaluation(chosen, records)[0].config)
        name = study["tracking"]["experiment"] or data_label(folder)
        order = Order((chosen,), name, members or config.keep.members, verdict)
        keep_strategies(order, records, open_dataset(config.data), folder)
    print(f"Model of {chosen}: {folder / MODELS / chosen}")
    if not study["tracking"]["enabled"] and uri is None:
        print("tracking.enabled is false: it is not in MLflow; --uri sends it there", file=sys.stderr)
        return
    place = tracking_uri(uri or study["tracking"]["uri"])
    sync(folder, place, name)
    print(f"Registered as {name} at {shown_uri(place)}")


def best_strategy(records: list[Record]) -> str:
    """The strategy that is ahead in the final evaluations, of a sweep of any version.

    Raises:
        UserError: there is none yet.
    """
    from lossfleet.sweeps.comparison.frame import frame_from_records
    from lossfleet.sweeps.comparison.summary import summary

    return summary(frame_from_records(records)).best
