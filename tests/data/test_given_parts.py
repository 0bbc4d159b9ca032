"""Groups, times and given parts of a table: who is tested on whom, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from table_files import write

from lossfleet.conf.datasets import TABLE, Data
from lossfleet.conf.errors import UserError
from lossfleet.conf.parts import Part
from lossfleet.conf.schema import choose
from lossfleet.runners.data.builtin import Dataset
from lossfleet.runners.data.loading import described, open_dataset
from lossfleet.runners.data.parts import Shares, draw_parts
from lossfleet.runners.data.splits import make_split, part_counts
from lossfleet.runners.tables import files, reading
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.compose import run_sweeper

SHARES = Shares(0.2, 0.3)
ROWS = 331


def visits(rows: int = ROWS) -> pd.DataFrame:
    """Visits of patients on days, in no order; the row number is a feature, so that rows are known again."""
    random = np.random.default_rng(17)
    days = random.integers(0, 97, rows)
    return pd.DataFrame(
        {
            "row": np.arange(rows),
            "patient": [f"P{each}" for each in random.integers(0, 61, rows)],
            "day": days,
            "when": pd.Series(pd.to_datetime("2024-02-27") + pd.to_timedelta(days, "D")).dt.strftime(
                "%Y-%m-%d"
            ),
            "use": random.choice(["training", "validation", "test"], rows, p=[0.5, 0.2, 0.3]),
            "ill": random.choice(["no", "yes"], rows, p=[0.8, 0.2]),
        }
    )


def table(path: Path, **settings):
    # Only the row number is left of the features.
    unused = {"patient", "day", "when", "use"} - set(settings.values())
    return choose(
        "data", "csv", path=str(path), target="ill", drop=tuple(sorted(unused)), keep=("row",), **settings
    )


@pytest.fixture
def path(tmp_path) -> Path:
    return write(visits(), tmp_path / "visits.csv")


def rows_of(dataset: Dataset, seed: int = 0) -> list[pd.DataFrame]:
    """The rows of the table that are in each part."""
    parts, _ = draw_parts(dataset, SHARES, seed=seed, split=seed)
    return [visits().iloc[np.sort(rows)] for rows in parts]


def test_no_patient_is_in_two_parts(path):
    dataset = open_dataset(table(path, group="patient"))
    assert list(dataset.features) == ["row"]
    tested = []
    for seed in range(5):
        parts = rows_of(dataset, seed)
        assert sorted(pd.concat(parts)["row"]) == list(range(ROWS))
        patients = [set(part["patient"]) for part in parts]
        assert sum(map(len, patients)) == len(set.union(*patients)) == visits()["patient"].nunique()
        assert all(set(part["ill"]) == {"no", "yes"} for part in parts)
        # Shares are those of patients, who have five or six rows.
        assert [len(each) for each in patients] == pytest.approx([30.5, 12, 18.5], abs=1)
        tested.append(frozenset(patients[2]))
    assert len(set(tested)) == 5


@pytest.mark.parametrize("column", ["day", "when"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_earlier_rows_train_and_later_ones_test(column, ending, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 997)
    monkeypatch.setattr(reading, "PARQUET_BATCH_ROWS", 37)
    written = visits()
    if ending == ".parquet":
        written["when"] = pd.to_datetime(written["when"])
    dataset = open_dataset(table(write(written, tmp_path / f"visits{ending}"), time=column))
    train, validation, test = rows_of(dataset)
    assert train["day"].max() < validation["day"].min()
    assert validation["day"].max() < test["day"].min()
    # The cuts are those whose shares are the nearest to what was asked.
    days = visits()["day"].to_numpy()
    later = np.array([(days >= day).mean() for day in np.unique(days)])
    assert abs(len(test) / ROWS - 0.3) == pytest.approx(np.abs(later - 0.3).min())
    assert abs((len(test) + len(validation)) / ROWS - 0.5) == pytest.approx(np.abs(later - 0.5).min())
    for seed in (1, 2):
        for part, other in zip(rows_of(dataset, seed), (train, validation, test), strict=True):
            pd.testing.assert_frame_equal(part, other)


def test_given_parts_are_the_parts(path):
    dataset = open_dataset(table(path, part="use"))
    for name, part in zip(("training", "validation", "test"), rows_of(dataset, 3), strict=True):
        expected = visits()[visits()["use"] == name]
        pd.testing.assert_frame_equal(part, expected)
    split = make_split(dataset, SHARES, seed=3, split=3)
    assert split.draws == len(split.train_labels) == (visits()["use"] == "training").sum()
    assert split.pool_rows == len(split.test_labels) == (visits()["use"] == "test").sum()


@pytest.mark.parametrize("grouped", [False, True])
def test_where_no_validation_part_is_given_it_is_drawn_from_training(grouped, tmp_path):
    written = visits()
    written["use"] = np.where(written["patient"].isin([f"P{n}" for n in range(19)]), "test", "training")
    path = write(written, tmp_path / "visits.csv")
    dataset = open_dataset(table(path, part="use", **({"group": "patient"} if grouped else {})))
    drawn = set()
    for seed in range(3):
        train, validation, test = rows_of(dataset, seed)
        assert set(test["row"]) == set(written.loc[written["use"] == "test", "row"])
        assert sorted([*train["row"], *validation["row"], *test["row"]]) == list(range(ROWS))
        assert len(validation) == pytest.approx(0.2 * (ROWS - len(test)), abs=15 if grouped else 1)
        assert bool(set(train["patient"]) & set(validation["patient"])) != grouped
        drawn.add(tuple(validation["row"]))
    assert len(drawn) == 3


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_of_its_own_is_the_test_part(ending, tmp_path):
    train = write(visits().iloc[:199], tmp_path / f"train{ending}")
    # The order of columns is its own; so are further columns.
    test = write(visits().iloc[199:].iloc[:, ::-1].assign(further=1), tmp_path / "test.csv")
    chosen = table(train, test_path=str(test))
    dataset = open_dataset(chosen)
    assert dataset.features["row"].tolist() == list(range(ROWS))
    assert sorted(rows_of(dataset)[2]["row"]) == list(range(199, ROWS))
    label = described(chosen).label
    test.write_text(test.read_text().replace("yes", "no", 1))
    assert described(chosen).label != label


def test_a_split_that_the_data_decides_is_made_once(path):
    factory = ReplicateFactory(described(table(path, time="day")))
    assert factory.split(0, 0) is factory.split(101, 1001)
    factory = ReplicateFactory(described(table(path, group="patient")))
    assert factory.split(0, 0) is not factory.split(101, 1001)


def test_a_file_of_the_users_need_not_name_every_setting(path):
    short = Data(
        Part("data", "mine", TABLE, (("path", str(path)), ("target", "ill"), ("drop", ("patient", "when"))))
    )
    assert described(short).class_names == ("no", "yes")
    with pytest.raises(UserError, match=r"data\.path is 'a\.json'"):
        Data(Part("data", "mine", TABLE, (("path", "a.json"), ("target", "ill"))))


def test_columns_aside_make_another_label_and_null_does_not(path):
    plain = described(table(path))
    assert described(replace(plain, source=plain.source.replace(drop=("patient", "day", "when")))) != plain
    labels = {described(table(path, **each)).label for each in ({}, {"group": "patient"}, {"time": "day"})}
    assert len(labels) == 3


def test_a_plan_has_absolute_paths_and_a_name_that_does_not_depend_on_them(path, monkeypatch):
    write(visits(), path.parent / "test.csv")
    arguments = ["strategy=ce", "data=csv", "data.target=ill", "data.drop=[patient,when,use]"]

    def plan_of(folder: Path):
        found: list = []
        monkeypatch.chdir(folder)
        files = ["data.path=visits.csv", "data.test_path=test.csv"]
        run_sweeper([*arguments, *files], found.append)
        return found[0]

    plan = plan_of(path.parent)
    assert plan.data.source["test_path"] == str(path.parent / "test.csv")
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("visits.csv", "test.csv"):
        (path.parent / name).rename(elsewhere / name)
    assert plan_of(elsewhere).sweep == plan.sweep


@pytest.mark.parametrize(
    ("change", "settings", "said", "hint"),
    [
        ({}, {"group": "patent"}, "data.group names 'patent', and visits.csv has no such column", "patient"),
        ({}, {"time": "patient"}, "column 'patient' has 'P", "correct the row"),
        ({}, {"part": "patient"}, "column 'patient' has 'P", "correct the row"),
        ({}, {"part": "day"}, "column 'day' has numbers, and data.part names it", "words"),
        (
            {"patient": None},
            {"group": "patient"},
            "the group 'patient' is missing in 1 of 331 rows: 5",
            "fill",
        ),
        ({"use": "train"}, {"part": "use"}, "column 'use' has 'train' in row 5", "correct the row"),
        ({}, {"test_path": "nowhere.csv"}, "data.test_path is ", "data.test_path"),
    ],
)
def test_columns_that_do_not_say_it_are_refused(change, settings, said, hint, tmp_path):
    written = visits()
    for column, value in change.items():
        written.loc[4, column] = value
    with pytest.raises(UserError) as caught:
        open_dataset(table(write(written, tmp_path / "visits.csv"), **settings))
    assert caught.value.what.startswith(said)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"time": "day", "part": "use"}, "data.time and data.part both make the test part"),
        ({"part": "use", "test_path": "b.csv"}, "data.part and data.test_path both make the test part"),
        ({"group": "ill"}, "data.group is 'ill', the target"),
        ({"group": "day", "time": "day"}, "data.time is 'day', which data.group names"),
        ({"group": "patient", "repeated": "group"}, "data.repeated=group beside data.group"),
        ({"test_path": "b.json"}, "data.test_path is 'b.json'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_unread(settings, said):
    with pytest.raises(UserError) as caught:
        table(Path("a.csv"), **settings)
    assert caught.value.what == said


def test_a_column_aside_is_not_dropped_too():
    with pytest.raises(UserError, match=r"data.drop contains 'patient', which data.group names"):
        choose("data", "csv", path="a.csv", target="ill", drop=("patient",), group="patient")


def test_what_cannot_be_split_is_refused_by_name(tmp_path):
    few_days = visits().assign(day=visits()["row"] % 2)
    with pytest.raises(UserError, match=r"data.time has 2 different times"):
        part_counts(open_dataset(table(write(few_days, tmp_path / "visits.csv"), time="day")), SHARES)
    early = visits().assign(ill=np.where(visits()["day"] < 20, "yes", "no"))
    with pytest.raises(
        UserError, match=r"class 'yes' of \S+ has 0 rows in the validation part that data.time makes"
    ):
        part_counts(open_dataset(table(write(early, tmp_path / "visits.csv"), time="day")), SHARES)
    path = write(visits(), tmp_path / "visits.csv")
    with pytest.raises(UserError, match=r"\d+ groups of \S+ have rows in more than one of the given parts"):
        part_counts(open_dataset(table(path, group="patient", part="use")), SHARES)
    two = visits().assign(patient=visits()["row"] % 2)
    with pytest.raises(UserError, match=r"class 'no' of \S+ is in 2 groups"):
        make_split(
            open_dataset(table(write(two, tmp_path / "visits.csv"), group="patient")), SHARES, seed=0, split=0
        )


def test_the_second_file_must_have_the_columns_of_the_first(tmp_path):
    train = write(visits(), tmp_path / "train.csv")
    test = write(visits().drop(columns="row"), tmp_path / "test.csv")
    with pytest.raises(UserError, match=r"test.csv has no column 'row', which train.csv has"):
        open_dataset(table(train, test_path=str(test)))
    write(visits().iloc[:0], test)
    with pytest.raises(UserError, match=r"test.csv has no rows"):
        open_dataset(table(train, test_path=str(test)))


def test_parts_of_different_sizes_train_together_as_alone(path):
    from lossfleet.conf.schema import Budget, Config
    from lossfleet.runners.training.fleet import Fleet
    from lossfleet.runners.training.shape import shape_of
    from lossfleet.runners.training.solo import train_solo

    factory = ReplicateFactory(described(table(path, group="patient")))
    config = Config(
        "under_test",
        factory.data,
        choose("loss", "weighted_cross_entropy", tau=1),
        model=choose("model", "mlp", widths=(7,)),
        budget=Budget(epochs=3, rungs=3),
    )
    replicates = [factory.replicate(config, seed=seed, split=seed) for seed in range(3)]
    assert len({len(each.split.train_labels) for each in replicates}) == 3
    draws = replicates[0].split.draws
    assert {each.plan.shape for each in replicates} == {(3, draws)}
    shape = shape_of(config, features=1, classes=2, train_rows=draws)
    fleet = Fleet(shape, slots=3, pages=3, page_rows=ROWS, evaluation_rows=ROWS, evaluation_step=59)
    for slot, each in enumerate(replicates):
        fleet.enter(slot, each)
    for _ in range(3):
        fleet.train_epoch()
    found = fleet.logits("test")
    assert found.shape[2] % 59 == 0
    for slot, each in enumerate(replicates):
        *_, last = train_solo(each)
        expected = last.logits(each.split.test_features)
        np.testing.assert_allclose(found[slot, :, : expected.shape[1]], expected, rtol=1e-4, atol=1e-4)
        # Other rows of its only feature, for one slot alone.
        shuffled = fleet.logits("test", [slot], (0,))[slot, :, : expected.shape[1]]
        of_these = last.logits(fleet.features(slot, "test", (0,)))
        assert not np.allclose(of_these, expected, rtol=1e-2)
        np.testing.assert_allclose(shuffled, of_these, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(fleet.logits("test"), found)
