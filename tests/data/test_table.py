"""A table of the user's own against pandas, NumPy and our own data sets; nothing leaks, nothing goes unsaid."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forks import run_command
from table_files import write

from lossfleet.conf.errors import UserError
from lossfleet.conf.schema import Budget, Config, Data, choose
from lossfleet.runners.data.encoding import encode
from lossfleet.runners.data.loading import described, open_dataset, tell_notes
from lossfleet.runners.data.parts import Shares
from lossfleet.runners.data.splits import make_split
from lossfleet.runners.tables import files, reading
from lossfleet.runners.training.replicate import ReplicateFactory
from lossfleet.sweeps.planning.compose import run_sweeper

SHARES = Shares(0.2, 0.3)
# Primes; the rare word, the gaps and the rare class are in few rows.
ROWS = 331


def churn() -> pd.DataFrame:
    """Numbers with gaps and without, words with gaps and without, truth values, codes, words for classes."""
    random = np.random.default_rng(11)
    table = pd.DataFrame(
        {
            "age": random.integers(18, 80, ROWS).astype(float),
            "plan": random.choice(["basic", "plus, new", 'the "pro"'], ROWS),
            "spend": np.round(random.gamma(2, 20, ROWS), 2),
            "member": random.random(ROWS) < 0.5,
            "zip": random.choice(["11", "12", "10"], ROWS),
            "churn": np.where(random.random(ROWS) < 0.2, "leave", "stay"),
        }
    )
    table["plan"] = table["plan"].astype(object)
    table.loc[random.random(ROWS) < 0.1, "age"] = np.nan
    table.loc[random.random(ROWS) < 0.1, "plan"] = None
    return table


def data(path: Path, target: str = "churn", **settings) -> Data:
    return choose("data", "csv", path=str(path), target=target, **settings)


@pytest.fixture
def path(tmp_path) -> Path:
    return write(churn(), tmp_path / "churn.csv")


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_a_table_of_numbers_gives_the_floats_of_our_own_data_set_to_the_bit(name, ending, tmp_path):
    ours = open_dataset(choose("data", name))
    table = ours.features.assign(kind=[ours.class_names[label] for label in ours.labels])
    read = open_dataset(data(write(table, tmp_path / f"{name}{ending}"), "kind"))
    assert list(read.features.columns) == list(ours.features.columns)
    assert read.features.to_numpy().tobytes() == ours.features.to_numpy(np.float64).tobytes()
    assert [read.class_names[label] for label in read.labels] == table["kind"].tolist()
    parts = np.split(np.random.default_rng(0).permutation(len(table)), [97, 131])
    for mine, theirs in zip(encode(read.features, parts), encode(ours.features, parts), strict=True):
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_every_format_reads_as_pandas_does(ending, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 997)
    monkeypatch.setattr(reading, "PARQUET_BATCH_ROWS", 37)
    expected = churn()
    read = open_dataset(data(write(expected, tmp_path / f"churn{ending}"), categorical=("zip",)))
    pd.testing.assert_frame_equal(read.features[["age", "spend"]], expected[["age", "spend"]])
    assert read.features["plan"].astype(object).where(read.features["plan"].notna(), None).tolist() == (
        expected["plan"].where(expected["plan"].notna(), None).tolist()
    )
    assert read.features["zip"].tolist() == expected["zip"].tolist()
    assert read.features["member"].str.lower().tolist() == expected["member"].astype(str).str.lower().tolist()
    assert read.class_names == ("stay", "leave")
    assert read.class_counts.tolist() == expected["churn"].value_counts()[["stay", "leave"]].tolist()
    np.testing.assert_array_equal(read.labels == 1, expected["churn"] == "leave")
    assert read.notes == ()


def test_the_encoding_is_what_numpy_makes_of_the_training_part(path):
    read = open_dataset(data(path))
    random = np.random.default_rng(7).permutation(ROWS)
    parts = [random[:199], random[199:251], random[251:]]
    encoded = encode(read.features, parts)
    train = read.features.iloc[parts[0]]
    for rows, part in zip(parts, encoded, strict=True):
        table, columns = read.features.iloc[rows], []
        for name in ("age", "spend", "zip"):
            fitted = train[name].fillna(train[name].median()).to_numpy()
            values = table[name].fillna(train[name].median()).to_numpy()
            columns.append((values - fitted.mean()) / fitted.std())
        columns.append(table["age"].isna())
        columns.append(table["plan"].isna())
        columns += [table["plan"] == word for word in ("basic", "plus, new", 'the "pro"')]
        columns += [table["member"] == word for word in ("False", "True")]
        expected = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
        np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-6)
        assert part.dtype == np.float32


def test_held_out_rows_do_not_touch_the_training_part(path):
    read = open_dataset(data(path))
    random = np.random.default_rng(5).permutation(ROWS)
    parts = [random[:211], random[211:]]
    changed = read.features.copy()
    held_out = changed.index.isin(parts[1])
    changed.loc[held_out, "age"] = 1e6
    changed.loc[held_out, "spend"] = np.where(np.arange(held_out.sum()) % 3, -1e6, 5.0)
    changed.loc[held_out, "plan"] = "basic"
    before, after = encode(read.features, parts), encode(changed, parts)
    assert before[0].tobytes() == after[0].tobytes()
    assert before[1].tobytes() != after[1].tobytes()


def test_what_training_never_shows_is_nothing_and_keeps_its_place():
    features = pd.DataFrame(
        {
            "gap": [1.0, 2.0, 3.0, np.nan],
            "always": [np.nan, np.nan, np.nan, 4.0],
            "constant": [0.1, 0.1, 0.1, 1e6],
            "once": [np.nan, 0.7, 0.7, -3.0],
            "word": pd.Categorical(["a", "b", "a", "new"]),
            "late": pd.Categorical(["c", "c", "c", None]),
        }
    )
    train, test = encode(features, [np.arange(3), np.array([3])])
    assert train.shape[1] == test.shape[1] == 4 + 3 + 3 + 2
    # The gap is filled with the median, 2, which is the mean.
    np.testing.assert_array_equal(test[0], np.zeros(12))
    np.testing.assert_array_equal(train[:, 1:4], np.zeros((3, 3)))
    np.testing.assert_array_equal(
        train[:, 4:],
        [[0, 1, 1, 1, 0, 0, 0, 1], [0, 1, 0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 0, 0, 0, 1]],
    )


def test_all_splits_have_the_same_features(tmp_path):
    table = churn()
    table["rare"] = np.where(np.arange(ROWS) == 17, "once", "often")
    table["level"] = np.where(np.arange(ROWS) == 5, np.nan, np.arange(ROWS) % 7)
    read = open_dataset(data(write(table, tmp_path / "churn.csv")))
    splits = [make_split(read, SHARES, seed=seed, split=seed, long_tail=9) for seed in range(9)]
    assert {part.train_features.shape[1] for part in splits} == {4 + 2 + 4 + 2 + 2}
    assert len({part.train_features.any(axis=0).sum() for part in splits}) > 1


@pytest.mark.parametrize(
    ("target", "names", "labels"),
    [
        (["b", "a", "b", "a", "b", "c"], ("b", "a", "c"), [0, 1, 0, 1, 0, 2]),
        ([3, 10, 10, -2, 10, 3], ("10", "3", "-2"), [1, 0, 0, 2, 0, 1]),
        ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], ("0", "1"), [1, 0, 0, 0, 1, 0]),
        ([True, False, True, True, True, True], ("true", "false"), [0, 1, 0, 0, 0, 0]),
        (["2", "2", "10", "10", "x", "x"], ("10", "2", "x"), [1, 1, 0, 0, 2, 2]),
        (["süß", "süß", "naïve", "süß", "naïve", " süß "], ("süß", "naïve"), [0, 0, 1, 0, 1, 0]),
    ],
    ids=["text", "integers", "whole floats", "truth values", "mixed", "unicode"],
)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_classes_from_the_largest_to_the_smallest(target, names, labels, ending, tmp_path):
    table = pd.DataFrame({"x": np.arange(6.0), "y": target})
    read = open_dataset(data(write(table, tmp_path / f"t{ending}"), "y"))
    assert tuple(name.lower() for name in read.class_names) == names
    assert read.labels.tolist() == labels
    assert read.labels.dtype == np.int64


@pytest.mark.parametrize("word", ["", "?", "NA", "NaN", "null", "None", " NA ", "#N/A"])
def test_spellings_of_missing(word, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"x,w,y\n1,a,p\n{word},{word},q\n3,a,p\n4,b,q\n")
    read = open_dataset(data(path, "y"))
    assert np.isnan(read.features["x"]).tolist() == [False, True, False, False]
    assert read.features["w"].isna().tolist() == [False, True, False, False]


def test_repeated_rows_are_left_out_once_and_told(path, capsys):
    table = churn()
    again = pd.concat([table.iloc[:2], table, table.iloc[[5, 5, 9]]])
    # Another label makes another row.
    again.iloc[-1, -1] = "stay" if again.iloc[-1, -1] == "leave" else "leave"
    chosen = data(write(again, path))
    read = open_dataset(chosen)
    assert len(read.labels) == len(again.drop_duplicates()) == ROWS + 1
    assert read.features["spend"].tolist() == again.drop_duplicates()["spend"].tolist()
    assert read.notes == (
        "4 rows left out that repeat an earlier row exactly: they would leak across splits",
        "2 rows have the features of a row of another class",
    )
    tell_notes(chosen, read)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"churn.csv: {len(again)} rows; commas, UTF-8"
    assert told[1:3] == ["  numbers (3): age, spend, zip", "  categories (2): plan (3), member (2)"]
    missing = read.features["age"].isna().sum()
    assert missing > 0
    assert told[3] == f"  missing numbers (1): age {missing}; each is the median of the training part"
    assert told[4:6] == [f"  {note}" for note in read.notes]
    assert re.fullmatch(r"  classes \(2\): stay \d+, leave \d+; the rarest is leave", told[6])
    assert len(told) == 7


def test_one_row_is_told_in_the_singular_and_no_class_of_several_equal_ones_as_the_rarest(tmp_path):
    table = pd.DataFrame({"x": np.arange(40) / 8, "y": ["a", "b"] * 20})
    table = pd.concat([table, table.iloc[:1], pd.DataFrame({"x": [9.5], "y": [None]})])
    read = open_dataset(data(write(table, tmp_path / "equal.csv"), target="y"))
    assert read.notes[:2] == (
        "1 of 42 rows left out that has no y",
        "1 row left out that repeats an earlier row exactly: it would leak across splits",
    )
    assert read.lines()[-1] == "classes (2): a 20, b 20; all of the same size"


def test_empty_and_dropped_columns_are_left_out(tmp_path):
    path = write(churn().assign(nothing=np.nan, id=np.arange(ROWS)), tmp_path / "churn.csv")
    read = open_dataset(data(path, drop=("id", "zip")))
    assert sorted(read.features) == ["age", "member", "plan", "spend"]
    assert read.notes == ("column nothing left out: no value in any row",)


def test_a_changed_file_is_read_again_and_refused_where_the_old_one_is_meant(path):
    chosen = described(data(path))
    assert chosen.class_names == ("stay", "leave")
    assert re.fullmatch(r"churn-[0-9a-f]{8}", chosen.label)
    write(churn().iloc[:-1], path)
    assert len(open_dataset(data(path)).labels) == ROWS - 1
    assert described(data(path)).label != chosen.label
    with pytest.raises(UserError, match="has changed"):
        open_dataset(chosen)


def test_class_names_that_are_not_the_files_are_refused(path):
    with pytest.raises(UserError, match=r"data.class_names is \['leave', 'stay'\]"):
        open_dataset(data(path, class_names=("leave", "stay")))


def plan_of(*arguments: str):
    found: list = []
    run_sweeper(["strategy=ce", "data=csv", "data.target=churn", *arguments], found.append)
    return found[0]


def test_a_sweep_is_named_by_content_and_found_from_anywhere(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    plan = plan_of("data.path=churn.csv")
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    path.rename(elsewhere / "churn.csv")
    monkeypatch.chdir(elsewhere)
    moved = plan_of("data.path=churn.csv")
    assert moved.sweep == plan.sweep
    assert plan.sweep.startswith(f"{plan.data.label}-")
    assert plan_of(f"data.path={moved.data.source['path']}", "data.drop=[zip]").data.label != plan.data.label
    monkeypatch.chdir("/")
    factory = ReplicateFactory(pickle.loads(pickle.dumps(moved)).data)
    assert factory.dataset.class_names == moved.data.class_names == ("stay", "leave")
    write(churn().iloc[:-1], elsewhere / "churn.csv")
    assert plan_of(f"data.path={moved.data.source['path']}").sweep != plan.sweep


def test_a_stored_configuration_of_another_content_is_refused(path, monkeypatch):
    from lossfleet.sweeps.running.folder import store_configuration

    file = path.parent / "config.yaml"
    store_configuration(file, plan_of(f"data.path={path}", "name=mine"))
    moved = plan_of(f"data.path={path.rename(path.parent / 'moved.csv')}", "name=mine")
    store_configuration(file, moved)
    write(churn().iloc[:-1], path.parent / "moved.csv")
    with pytest.raises(UserError, match=r"the sweep mine was started .*data.digest: '"):
        store_configuration(file, plan_of(f"data.path={moved.data.source['path']}", "name=mine"))


def test_names_that_look_like_interpolations_stay_what_they_are(tmp_path):
    table = churn().assign(churn=np.where(np.arange(ROWS) % 5, "${seed}", "$"))
    path = write(table, tmp_path / "churn.csv")
    assert plan_of(f"data.path={path}").data.class_names == ("${seed}", "$")


# In a process of its own, where nothing else has used the memory pool. pyarrow reads blocks ahead.
MEASURE = """
import sys, tracemalloc
import pandas, pyarrow.compute, pyarrow.csv, sklearn.tree, sklearn.metrics
from lossfleet.conf.schema import choose
from lossfleet.runners.data import leaks
from lossfleet.runners.tables import files
from lossfleet.runners.data.loading import open_dataset
files.BLOCK_BYTES = 2**12
# Of a large table these are few; the library is there before too.
leaks.ROWS_OF_A_CLASS = 50
leaks.possible_leaks(pandas.DataFrame({"a": [0.0, 1.0]}), pandas.Series([0, 1]).to_numpy())
data = choose("data", "csv", path=sys.argv[1], target="y")
# What is imported with it is not what reading needs.
data.source.load()
tracemalloc.start()
read = open_dataset(data)
print(pyarrow.default_memory_pool().max_memory(), tracemalloc.get_traced_memory()[1], read.features.shape)
"""


def test_reading_needs_little_more_than_the_numbers(tmp_path):
    random = np.random.default_rng(3)
    table = pd.DataFrame(random.normal(size=(9_973, 23)).round(6)).rename(columns=str)
    path = write(table.assign(y=np.arange(9_973) % 3), tmp_path / "wide.csv")
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    arrow_peak, numpy_peak, shape = done.stdout.split(maxsplit=2)
    assert shape.strip() == "(9973, 23)"
    assert int(arrow_peak) < path.stat().st_size / 3
    assert int(numpy_peak) < 1.5 * table.to_numpy().nbytes


def test_a_fleet_on_a_table_trains_as_solo_does(path):
    from lossfleet.runners.training.fleet import Fleet
    from lossfleet.runners.training.shape import shape_of
    from lossfleet.runners.training.solo import train_solo

    chosen = described(data(path))
    factory = ReplicateFactory(chosen)
    losses = [
        choose("loss", "weighted_cross_entropy", class_weight=(1, 3)),
        choose("loss", "focal", gamma=1.5, alpha=0.6),
        choose("loss", "focal", gamma=0.5, tau=1),
    ]
    replicates = [
        factory.replicate(
            Config(
                "under_test",
                chosen,
                loss,
                model=choose("model", "mlp", widths=(7,)),
                budget=Budget(epochs=3, rungs=3),
            ),
            seed=seed,
            split=seed,
        )
        for seed, loss in enumerate(losses)
    ]
    first = replicates[0]
    shape = shape_of(
        first.config,
        features=first.features.shape[1],
        classes=2,
        train_rows=len(first.split.train_labels),
    )
    fleet = Fleet(shape, slots=3, pages=3, page_rows=ROWS, evaluation_rows=ROWS)
    for slot, each in enumerate(replicates):
        fleet.enter(slot, each)
    for _ in range(3):
        fleet.train_epoch()
    found = fleet.logits("test")
    for slot, each in enumerate(replicates):
        *_, last = train_solo(each)
        np.testing.assert_allclose(found[slot], last.logits(each.split.test_features), rtol=1e-4, atol=1e-4)


def test_a_whole_sweep_with_processes_of_its_own(path):
    """Words, gaps, two training processes: all is recorded under the table's name, every replicate on its rows."""
    from lossfleet.sweeps.comparison.frame import frame

    plan = plan_of(f"data.path={path}")
    budget = ("trials=1", "replicates=2", "epochs=2", "rungs=1", "final_replicates=2")
    arguments = [
        "data=csv",
        "data.path=churn.csv",
        "data.target=churn",
        "strategy=ce,focal",
        "references=[]",
        "fleet.processes=2",
    ]
    done = run_command(("sweep", *arguments, *(f"budget.{each}" for each in budget)), path.parent)
    assert done.returncode == 0, done.stderr
    # What was read is said before training, and on the sweep's run.
    told = open_dataset(plan.data).lines()
    assert f"churn.csv: {told[0]}" in done.stderr
    assert all(f"  {line}" in done.stderr for line in told[1:])
    sweep_told = done.stderr
    (recorded,) = path.parent.rglob("artifacts/data.txt")
    assert recorded.read_text().splitlines() == told
    table = frame([plan.data.label], uri=f"sqlite:///{path.parent / 'mlflow.db'}")
    assert set(table["data"]) == {plan.data.label}
    assert table.groupby(["strategy", "stage"]).size().to_dict() == {
        (strategy, stage): 2 for strategy in ("ce", "focal") for stage in ("search", "final")
    }
    parts = make_split(open_dataset(plan.data), Shares(0.2, 0.2), seed=0, split=0)
    assert set(table["train_rows"].dropna()) == {len(parts.train_labels)}
    sizes = len(parts.train_labels), len(parts.validation_labels), len(parts.test_labels)
    assert "  parts: {} training, {} validation, {} test rows\n".format(*sizes) in sweep_told
    # The winner is a model to predict with, by the experiment's name.
    done = run_command(("predict", plan.data.label, "churn.csv", "--output", "p.parquet"), path.parent)
    assert done.returncode == 0, done.stderr
    predicted = pd.read_parquet(path.parent / "p.parquet")
    dataset = open_dataset(plan.data)
    assert list(predicted) == ["class", *(f"probability_{name}" for name in dataset.class_names)]
    assert len(predicted) == len(pd.read_csv(path))
    done = run_command(("evaluate", plan.data.label, "churn.csv"), path.parent)
    assert done.returncode == 0, done.stderr
    for name in dataset.class_names:
        assert f"recall of {name}" in done.stdout


def test_data_settings_compare_equal_however_they_are_written(path):
    assert data(path, drop=["zip"]) == data(path, drop=("zip",))
    assert data(path).classes is None
