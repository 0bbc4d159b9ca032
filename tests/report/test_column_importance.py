"""What each column matters to the strategy ahead: measured, told and drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sweep_records
from figures_frame import HOSTILE
from replicate_runs import adamw, config, factory, fill, make_native_fleet, mlp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance
from table_files import write

from lossfleet.conf.schema import Budget, Config, choose
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.encoding import encode, encoded_columns
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.records import Record, decode_record, encode_record
from lossfleet.runners.training.native.fleet import NativeFleet
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.comparison.frame import frame_from_records
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report.conclusion import conclude
from lossfleet.sweeps.report.figures.columns import important_columns
from lossfleet.sweeps.report.figures.interactive import plotly_figures
from lossfleet.sweeps.report.figures.marks import LOOKS, Bars, Line
from lossfleet.sweeps.report.figures.png import png
from lossfleet.sweeps.report.importance import ColumnImportance, column_importance
from lossfleet.sweeps.running.jobs import Job, ReplicateState
from lossfleet.sweeps.running.measuring import measure

ROWS = 613


def table() -> pd.DataFrame:
    """Columns of every kind; x0 and the colour decide the class, the others are noise."""
    random = np.random.default_rng(7)
    found = pd.DataFrame(
        {
            "noise": random.normal(size=ROWS).round(4),
            "color": random.choice(["blue", "green", "red"], ROWS),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 500, ROWS), unit="D"),
            "gappy": np.where(random.random(ROWS) < 0.2, np.nan, random.normal(size=ROWS).round(4)),
            "words": [" ".join(random.choice(["lorem", "ipsum", "dolor", "amet"], 5)) for _ in range(ROWS)],
            "x0": random.normal(size=ROWS).round(4),
        }
    )
    score = found["x0"] + 1.5 * (found["color"] == "red")
    return found.assign(kind=np.where(score > 1.2, "rare", "common"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> ReplicateFactory:
    path = write(table(), tmp_path_factory.mktemp("importance") / "kinds.parquet")
    return ReplicateFactory(choose("data", "csv", path=str(path), target="kind", text=("words",)))


def test_the_features_of_a_column_are_those_that_its_cells_are_encoded_to(tmp_path, made):
    places = encoded_columns(made.dataset)
    assert list(places) == list(table().columns.drop("kind"))
    assert sorted(sum(places.values(), ())) == list(range(made.split(0, 0).train_features.shape[1]))
    assert [len(places[name]) for name in ("noise", "color", "gappy", "x0")] == [1, 3, 2, 1]
    parts = [np.arange(0, 400), np.arange(400, ROWS)]
    _, before = encode(made.dataset.features, parts)
    order = np.random.default_rng(1).permutation(ROWS - 400)
    for name, own in places.items():
        # The cells of one column in another order, in the user's own file.
        other = table()
        other.loc[400:, name] = other.loc[400:, name].to_numpy()[order]
        path = write(other, tmp_path / "other.parquet")
        changed = open_dataset(choose("data", "csv", path=str(path), target="kind", text=("words",)))
        _, after = encode(changed.features, parts)
        expected = before.copy()
        expected[:, list(own)] = before[order][:, list(own)]
        np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-6)


def trained(made: ReplicateFactory, replicates: int) -> tuple[NativeFleet, Config]:
    """A fleet at its last epoch, of a replicate each split."""
    chosen = config(model=mlp(11), optimizer=adamw(0.02), batch_size=64)
    chosen = replace(chosen, data=made.data, budget=Budget(epochs=12, rungs=12))
    members = [made.replicate(chosen, seed=100 + each, split=1000 + each) for each in range(replicates)]
    fleet = make_native_fleet(members)
    fill(fleet, members)
    for _ in range(12):
        fleet.train_epoch()
    return fleet, chosen


def measured(
    fleet: NativeFleet, chosen: Config, made: ReplicateFactory, columns: dict[str, tuple[int, ...]]
) -> list[ReplicateState]:
    runs = [ReplicateState(each, 100 + each, 1000 + each, epochs=12) for each in range(fleet.slots)]
    job = Job("under_test", "final", 3, {}, chosen, runs)
    at_rung = {slot: (job, run) for slot, run in enumerate(runs)}
    measure(fleet, at_rung, np.zeros(fleet.slots), made.dataset.class_names, columns)
    return runs


class Forward(ClassifierMixin, BaseEstimator):
    """A member's forward pass in float64 NumPy, behind the encoder of its split, as scikit-learn takes it."""

    def __init__(self, made, fleet, slot):
        self.made, self.fleet, self.slot = made, fleet, slot
        self.classes_ = np.arange(2)

    def fit(self, rows, labels):
        return self

    def predict(self, rows):
        # Rows of the user's table, by the position of each cell: encoded features follow them.
        split, member = self.fleet.split(self.slot), self.fleet._members[self.slot]
        features = np.empty_like(split.test_features)
        for name, own in encoded_columns(self.made.dataset).items():
            features[:, list(own)] = split.test_features[rows[name].to_numpy()][:, list(own)]
        (inner, shift), _, (outer, bias) = member.stock_parameters()
        hidden = np.maximum(features.astype(float) @ inner.T + shift, 0)
        return (hidden @ outer.T + bias).argmax(axis=1)


def test_importances_are_those_of_scikit_learn(made):
    columns = encoded_columns(made.dataset)
    fleet, chosen = trained(made, 5)
    runs = measured(fleet, chosen, made, columns)
    found = pd.DataFrame([run.importance for run in runs])
    assert list(found) == list(columns)
    expected, spread = [], []
    for slot, run in enumerate(runs):
        labels = fleet.split(slot).test_labels
        rows = pd.DataFrame(dict.fromkeys(columns, np.arange(len(labels))))
        theirs = permutation_importance(
            Forward(made, fleet, slot), rows, labels, scoring="balanced_accuracy", n_repeats=5, random_state=0
        )
        expected.append(theirs.importances_mean)
        spread.append(theirs.importances_std)
        # The very shuffle of a category: its features move together.
        split = fleet.split(slot)
        assert run.metrics["test_balanced_accuracy"] > 0.8
        mixed = fleet.features(slot, "test", columns["color"])
        assert (mixed[:, list(columns["color"])].sum(axis=1) == 1).all()
        assert (mixed != split.test_features).any(axis=0).nonzero()[0].tolist() == list(columns["color"])
    # One shuffle each: the mean over splits lies within four standard errors.
    error = np.sqrt(np.square(spread).mean(axis=0) / len(runs))
    assert (np.abs(found.mean() - np.mean(expected, axis=0)) < 4 * error + 0.005).all()
    means = found.mean().sort_values(ascending=False)
    assert list(means.index[:2]) == ["x0", "color"]
    assert means["color"] > 0.1
    assert (means[2:].abs() < 0.05).all()


def test_all_else_is_measured_as_without_and_what_diverged_is_not_asked(made):
    fleet, chosen = trained(made, 3)
    with_columns = measured(fleet, chosen, made, encoded_columns(made.dataset))
    without = measured(fleet, chosen, made, {})
    for ours, theirs in zip(with_columns, without, strict=True):
        assert (ours.metrics, ours.curves, ours.mistakes) == (theirs.metrics, theirs.curves, theirs.mistakes)
        assert theirs.importance == {}
        assert ours.importance
    again = measured(fleet, chosen, made, encoded_columns(made.dataset))
    assert [run.importance for run in again] == [run.importance for run in with_columns]
    runs = [ReplicateState(each, 100 + each, 1000 + each, epochs=12) for each in range(3)]
    runs[1].failure = "diverged"
    job = Job("under_test", "final", 3, {}, chosen, runs)
    at_rung = {slot: (job, run) for slot, run in enumerate(runs)}
    columns = encoded_columns(made.dataset)
    measure(fleet, at_rung, np.zeros(3), made.dataset.class_names, columns)
    assert runs[1].importance is None
    assert [runs[each].importance for each in (0, 2)] == [with_columns[each].importance for each in (0, 2)]


# From records on.


def asked(*importances: dict[str, float] | None) -> list[Record]:
    """A sweep whose best strategy recorded these importances."""
    records = []
    own = iter(importances)
    for record in sweep_records.sweep():
        if (getattr(record, "strategy", ""), getattr(record, "stage", "")) == ("focal", "final") and hasattr(
            record, "importance"
        ):
            record = replace(record, importance=next(own, None))
        records.append(record)
    return records


def found_in(records: list[Record], dataset: Dataset) -> ColumnImportance | None:
    return column_importance(records, summary(frame_from_records(records)), "macro_f1", dataset)


def test_means_and_errors_are_what_a_hand_counts():
    dataset = factory("wine").dataset
    records = asked({"b": 0.0, "a": 0.1}, None, {"b": 0.01, "a": 0.3}, {"b": -0.04, "a": 0.2})
    found = found_in(records, dataset)
    assert (found.strategy, found.metric, found.splits, found.left_out) == ("focal", "test macro f1", 3, 11)
    assert found.table["column"].tolist() == ["a", "b"]
    assert found.table["mean"].tolist() == pytest.approx([0.2, -0.01])
    # Standard deviations 0.1 and 0.026458, over the root of 3.
    assert found.table["error"].tolist() == pytest.approx([0.057735, 0.015275], abs=1e-6)
    assert found.sentence() == (
        "Columns: focal relies most on a (0.200): so much test macro f1 is lost when its cells are shuffled; "
        "only the first 2 of 13 columns were tried"
    )
    assert (
        "relies most on a (0.300), b (0.100): " in found_in(asked({"b": 0.1, "a": 0.3}), dataset).sentence()
    )
    small = found_in(asked({"c": 0.029, "b": 0.031, "a": 0.3}), dataset).sentence()
    assert "relies most on a (0.300), b (0.031): " in small
    nothing = found_in(asked({"a": 0.1}, {"a": -0.1}), dataset).sentence()
    assert nothing.startswith(
        "Columns: focal loses no test macro f1 when the cells of a single one are shuff"
    )
    record = next(each for each in records if getattr(each, "importance", None))
    assert decode_record(encode_record(record)) == record


def test_the_figure_has_a_bar_and_an_error_for_each_column():
    names = ["first", HOSTILE, "third" * 20, *(f"x{each}" for each in range(38))]
    rows = pd.DataFrame({"column": names, "mean": np.linspace(0.3, -0.02, 41), "error": 0.01})
    figure = important_columns(ColumnImportance("focal", "test macro f1", 5, rows, 7), LOOKS["focal"])
    (panel,) = figure.panels
    (bars,) = (mark for mark in panel.marks if isinstance(mark, Bars))
    assert bars.widths == rows["mean"].tolist()[:30]
    assert [panel.y.names[height] for height in bars.y][::29] == ["first", "x26"]
    assert len(panel.y.names[27]) <= 36
    errors = [mark for mark in panel.marks if isinstance(mark, Line) and mark.y[0] == mark.y[1]]
    assert errors[0].x == pytest.approx([0.29, 0.31])
    assert len(errors) == 30
    assert "11 columns matter less" in figure.caption
    assert "the first 41" in figure.caption
    assert png(figure).startswith(b"\x89PNG")
    (plot,) = plotly_figures(figure)
    assert "<script" not in plot.to_json()
    assert list(plot.data[0].x) == bars.widths


def test_a_sweep_ends_with_the_columns_that_matter(tmp_path: Path, capsys):
    conclude(asked({"alcohol": 0.1, "hue": 0.02}, {"alcohol": 0.2, "hue": 0.0}), tmp_path, factory("wine"))
    assert "Columns: focal relies most on alcohol (0.150): " in capsys.readouterr().out
    assert (tmp_path / "figures" / "columns.png").exists()
    assert "Which columns focal relies on" in (tmp_path / "figures" / "figures.html").read_text()
