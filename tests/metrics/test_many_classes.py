"""Data with so many classes that their confusion is no metric."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sweep_records
from sklearn.metrics import confusion_matrix

from lossfleet.conf.schema import Config, choose
from lossfleet.runners.data.loading import tell_small_classes
from lossfleet.runners.data.splits import Split
from lossfleet.runners.metrics.evaluation import final_metric_names
from lossfleet.runners.records import Journal, ReplicateRecord, decode_record, encode_record
from lossfleet.sweeps.report.conclusion import confusions_of, write_confusions
from lossfleet.sweeps.running.jobs import Job, ReplicateState
from lossfleet.sweeps.running.measuring import measure

CLASSES, EXAMPLES = 13, 37
NAMES = tuple(f"class {label}" for label in range(CLASSES))


@pytest.fixture
def member():
    """A final replicate at its end, measured in a made-up fleet, with its labels and predictions."""
    random = np.random.default_rng(0)
    labels = np.concatenate([np.arange(CLASSES), random.integers(0, CLASSES, EXAMPLES - CLASSES)])
    logits = random.normal(size=(1, CLASSES, EXAMPLES)).astype(np.float32)
    features = np.zeros((EXAMPLES, 1), np.float32)
    split = Split(
        *(features, labels) * 3, np.arange(EXAMPLES), np.bincount(labels), rarest_class=0, draws=EXAMPLES
    )
    fleet = SimpleNamespace(logits=lambda part: logits.copy(), split=lambda slot: split)
    config = Config("ce", choose("data", "wine"), choose("loss", "cross_entropy"))
    run = ReplicateState(0, 100, 1000, epochs=config.budget.epochs)
    job = Job("ce", "final", 3, {}, config, [run])
    measure(fleet, {0: (job, run)}, np.zeros(1), NAMES, {})
    return job.finish_replicate(run, "COMPLETE"), labels, logits[0].argmax(axis=0)


def test_a_hundred_classes_make_no_ten_thousand_metrics():
    assert len(final_metric_names([str(label) for label in range(100)])) < 2500


def test_the_confusion_is_in_the_record_and_in_a_file(member, tmp_path):
    record, labels, predictions = member
    assert not any("confusion" in name for name in record.metrics)
    assert set(record.metrics) >= {f"test_recall[{name}]" for name in NAMES}
    expected = confusion_matrix(labels, predictions)
    assert record.confusion == expected.tolist()
    assert decode_record(encode_record(record)) == record

    earlier = ReplicateRecord(**{**vars(record), "trial": 1})
    again = ReplicateRecord(**{**vars(record), "replicate": 1})
    write_confusions(confusions_of([earlier, record, again]), NAMES, tmp_path / "confusion")
    table = pd.read_csv(tmp_path / "confusion/ce.csv", index_col=0)
    assert table.columns.tolist() == table.index.tolist() == list(NAMES)
    np.testing.assert_array_equal(table, 2 * expected)


def test_records_of_few_classes_are_as_they_were(tmp_path):
    journal = Journal(tmp_path / "records.jsonl")
    journal.append(*sweep_records.sweep())
    assert b"confusion" not in journal.path.read_bytes()


def split_of(validation: np.ndarray, test: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(validation_labels=validation, test_labels=test, validation_rows=None)


def test_classes_with_few_test_rows_are_named(capsys):
    dataset = SimpleNamespace(name="birds", class_names=("crow", "owl", "eagle"), reading=None)
    few, enough = np.array([0] * 9 + [1] * 5 + [2] * 4), np.repeat([0, 1, 2], 5)
    for validation, test, numbers in ((few, enough, "4 and 5"), (enough, few, "5 and 4")):
        tell_small_classes(dataset, split_of(validation, test))
        assert capsys.readouterr().err == (
            f"birds: fewer than 5 validation or test rows say little about a class: eagle has {numbers}\n"
        )
    tell_small_classes(dataset, split_of(enough, enough))
    assert capsys.readouterr().err == ""
