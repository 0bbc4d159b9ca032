"""Keeping a model of a sweep after its end."""

from __future__ import annotations

import sys

from lossfleet.conf.schema import Config
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.records import JOURNAL_FILE, EndRecord, Journal
from lossfleet.runners.tracking.store import shown_uri, tracking_uri
from lossfleet.runners.tracking.writer import sync
from lossfleet.sweeps.commands.sync import data_label, first_study, sweep_folder
from lossfleet.sweeps.keeping.keep import MODELS, Order, chosen_strategies, final_evaluation, keep_strategies
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
        winner, verdict = (ends[-1].winner, ends[-1].sentence) if ends else ("", "")
        chosen = (strategy,) if strategy else chosen_strategies("winner", winner, records)
        # With no final evaluation at all there is nothing to choose from, which this says.
        config = Config.from_dict(final_evaluation(chosen[0] if chosen else "the winner", records)[0].config)
        name = study["tracking"]["experiment"] or data_label(folder)
        order = Order(chosen, name, members or config.keep.members, verdict)
        keep_strategies(order, records, open_dataset(config.data), folder)
    for each in chosen:
        print(f"Model of {each}: {folder / MODELS / each}")
    if not study["tracking"]["enabled"] and uri is None:
        print("tracking.enabled is false: it is not in MLflow; --uri sends it there", file=sys.stderr)
        return
    place = tracking_uri(uri or study["tracking"]["uri"])
    sync(folder, place, name)
    print(f"Registered as {name} at {shown_uri(place)}")
