"""Sweeps in MLflow, for the tests: written from a journal, read back as MLflow has them."""

from __future__ import annotations

import threading

from mlflow import MlflowClient

from lossfleet.runners.records import Journal
from lossfleet.runners.tracking import writer as tracking_writer

EXPERIMENT = "wine"


def append(folder, records):
    journal = Journal(folder / "records.jsonl")
    for record in records:
        journal.append(record)
    journal.close()


def mirror(folder, uri, records=()):
    """What the writer process does, in this one: everything that the journal has, to the end."""
    append(folder, records)
    ending = threading.Event()
    ending.set()
    tracking_writer.mirror(folder, uri, EXPERIMENT, ending)


def read_runs(uri):
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id], max_results=1000))
