"""Whole sweeps, as a user runs them: the command line, real training, a real MLflow store."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_wine
from whole_sweeps import Size, check_complete, journal, mlflow_runs, results, run, succeed

from lossfleet.runners.prediction.stored import read_model
from lossfleet.runners.records import ContinuationRecord, EndRecord, ReplicateRecord, TrialRecord
from lossfleet.sweeps.comparison.frame import SHOWN, frame, frame_from_records
from lossfleet.sweeps.comparison.summary import summary
from lossfleet.sweeps.report.tables import markdown_table
from lossfleet.sweeps.running.sweep import import_conclusion

SMALL = (
    "data=wine",
    "strategy=ce,ohem,focal",
    "budget.trials=5",
    "budget.replicates=2",
    "budget.epochs=6",
    "budget.rungs=3",
    "budget.final_replicates=6",
    "batch_size=19",
    "pruner.n_startup_trials=2",
    "pruner.warmup_rungs=0",
    "references=[]",
    "keep=none",
)
# Small, since a graph is compiled for each.
IN_GRAPHS = (
    "data=wine",
    "strategy=focal",
    "engine.native=off",
    "budget.trials=3",
    "budget.replicates=2",
    "budget.epochs=4",
    "budget.rungs=2",
    "budget.final_replicates=2",
    "tracking.enabled=false",
    "references=[]",
    "keep=none",
)
BESIDE = ("references=[dummy,logistic]", "keep=all", "keep.members=2")
SIZE = Size(strategies=3, trials=5, replicates=2, final=6)
FINISHED_SIZE = replace(SIZE, references=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A finished small sweep: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, succeed(folder, "sweep", *SMALL, *BESIDE)


def test_a_sweep_records_every_run_and_prints_its_table(finished):
    folder, printed = finished
    check_complete(folder, FINISHED_SIZE)
    for words in (
        "strategy",
        "focal",
        "ohem",
        "ce",
        "test balanced accuracy",
        "±",
        "optimizer.lr=",
        "6 splits",
        "Beside the references, which are not tuned:",
    ):
        assert words in printed


def test_the_search_prunes_and_the_final_evaluation_does_not(finished):
    records = journal(finished[0]).read()
    states = Counter((r.stage, r.state) for r in records if isinstance(r, TrialRecord))
    assert states["search", "PRUNED"] > 0
    assert states["final", "COMPLETE"] == SIZE.strategies
    finals = [r for r in records if isinstance(r, ReplicateRecord) and r.stage == "final"]
    assert all("test_balanced_accuracy" in r.metrics for r in finals)
    searched = [r for r in records if isinstance(r, ReplicateRecord) and r.stage == "search"]
    assert not any(name.startswith("test_b") for r in searched for name in r.metrics)


def test_the_frame_has_curves_diagrams_and_class_names_from_both_places(finished):
    folder, _ = finished
    table = frame(uri=f"sqlite:///{folder / 'mlflow.db'}")
    assert set(table["class_names"]) == {("class_0", "class_1", "class_2")}
    final = table[table["stage"] == "final"]
    counts = final.groupby("strategy")[[f"test_confusion[class_1][class_{c}]" for c in range(3)]].sum()
    hits, all_rows = counts["test_confusion[class_1][class_1]"], counts.sum(axis=1)
    found = final.groupby("strategy")["test_recall[class_1]"].mean()
    assert (hits / all_rows).tolist() == pytest.approx(found.tolist())
    references = table[table["stage"] == "reference"]
    assert (references[list(SHOWN)].notna().all(axis=None), len(references)) == (True, 2 * SIZE.final)
    splits = set(zip(final["seed"], final["split"], strict=True))
    assert set(zip(references["seed"], references["split"], strict=True)) == splits
    confusion = final.filter(like="test_confusion[").to_numpy()
    assert confusion.shape == (SIZE.strategies * SIZE.final, 3 * 3)
    assert (confusion.sum(axis=1) == final["test_rows"]).all()
    assert (confusion[:, ::4].sum(axis=1) / final["test_rows"]).tolist() == pytest.approx(
        final["test_accuracy"].tolist()
    )
    for row in final.to_dict("records"):
        assert [step for step, _ in row["curves.train_loss"]] == [2, 4, 6]
        assert row["curves.validation_balanced_accuracy"][-1] == (6, row["validation_balanced_accuracy"])
        assert [step for step, _ in row["curves.test_precision_at_recall"]] == list(range(101))
        assert sum(count for _, count in row["curves.test_reliability_count"]) == row["test_rows"]
    assert (table.loc[table["stage"] == "search", "curves.test_precision_at_recall"] == ()).all()


def test_all_strategies_share_splits_seeds_and_budget(finished):
    records = [r for r in journal(finished[0]).read() if isinstance(r, ReplicateRecord)]
    for stage in ("search", "final"):
        pairs = {
            strategy: {(r.seed, r.split) for r in records if (r.strategy, r.stage) == (strategy, stage)}
            for strategy in ("ce", "ohem", "focal")
        }
        assert pairs["ce"] == pairs["ohem"] == pairs["focal"]
    search, final = ({r.seed for r in records if r.stage == stage} for stage in ("search", "final"))
    assert not search & final


def test_the_best_trial_is_the_one_that_is_evaluated(finished):
    trials = [r for r in journal(finished[0]).read() if isinstance(r, TrialRecord)]
    for final in (r for r in trials if r.stage == "final"):
        searched = [r for r in trials if r.stage == "search" and r.strategy == final.strategy]
        chosen = next(r for r in searched if r.trial == final.trial)
        assert chosen.value == max(r.value for r in searched if r.value is not None)
        assert chosen.params == final.params


def test_the_same_sweep_repeats_exactly(finished, tmp_path):
    succeed(tmp_path, "sweep", *SMALL, "tracking.enabled=false")
    assert results(tmp_path) == results(finished[0])


def test_the_same_sweep_repeats_exactly_in_graphs(tmp_path):
    found = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        succeed(tmp_path / name, "sweep", *IN_GRAPHS)
        found.append(results(tmp_path / name))
    assert found[0] == found[1]
    assert set(frame_from_records(journal(tmp_path / "once").read())["engine"]) == {"graph"}


def test_two_processes_train_what_one_does(finished, tmp_path):
    succeed(tmp_path, "sweep", *SMALL, "fleet.processes=2", *BESIDE[1:])
    check_complete(tmp_path, SIZE)
    assert results(tmp_path).keys() == results(finished[0]).keys()
    one, two = (
        {key: value[:2] for key, value in results(folder).items() if len(key) == 4}
        for folder in (finished[0], tmp_path)
    )
    # Fewer slots a fleet may round the last digit of a loss otherwise; states and epochs are the same.
    assert one == two
    for strategy in ("ce", "ohem", "focal"):
        one, two = (read_model(model_folder(folder, strategy)) for folder in (finished[0], tmp_path))
        rows = load_wine(as_frame=True).data
        np.testing.assert_allclose(
            one.predict(rows).iloc[:, 1:], two.predict(rows).iloc[:, 1:], rtol=0, atol=1e-3
        )


def model_folder(folder: Path, strategy: str) -> Path:
    (found,) = folder.glob(f"studies/*/models/{strategy}")
    return found


def test_a_sweep_keeps_its_models_and_says_where(finished):
    folder, printed = finished
    end = [record for record in journal(folder).read() if isinstance(record, EndRecord)][-1]
    versions = registered(folder)
    assert {each.tags["strategy"] for each in versions} == {"ce", "ohem", "focal"}
    champion = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").get_model_version_by_alias(
        "wine", "champion"
    )
    assert champion.tags["strategy"] == end.winner.split()[0]
    assert champion.description == end.sentence
    for strategy in ("ce", "ohem", "focal"):
        target = model_folder(folder, strategy)
        place = target.relative_to(folder)
        name = "wine" if strategy == end.best else place
        assert f"Model of {strategy}: {place}; 'lossfleet predict {name} FILE' uses it" in printed
        description = read_model(target).description
        finals = [
            record
            for record in journal(folder).read()
            if isinstance(record, ReplicateRecord) and (record.strategy, record.stage) == (strategy, "final")
        ]
        scores = [record.metrics["test_balanced_accuracy"] for record in finals]
        expected = description["expected"]["test_balanced_accuracy"]
        assert expected["mean"] == pytest.approx(np.mean(scores))
        assert expected["low"] < expected["mean"] < expected["high"]
        assert description["made"]["trial"] == finals[0].trial
        assert description["prior_exponent"] == pytest.approx(
            np.mean([record.metrics["prior_exponent"] for record in finals])
        )
        card = (target / "model_card.md").read_text()
        assert f"# wine: {strategy}" in card
        assert end.sentence in card
        assert f"{expected['mean']:.3f} ({expected['low']:.3f} to " in card


def registered(folder: Path) -> list:
    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_model_versions("name = 'wine'")


def test_compare_gives_the_table_of_the_journal_from_mlflow(finished):
    folder, _ = finished
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    from_mlflow, from_journal = (
        summary(frame(["wine"], uri=uri)),
        summary(frame_from_records(journal(folder).read())),
    )
    assert markdown_table(from_mlflow) == markdown_table(from_journal)
    assert from_mlflow.sentence == from_journal.sentence
    assert markdown_table(from_journal) in succeed(folder, "compare", "wine", "--format", "md")


def test_a_finished_sweep_run_again_trains_nothing_and_more_trials_continue_it(finished, tmp_path):
    subprocess.run(["cp", "-r", f"{finished[0]}/.", str(tmp_path)], check=True)
    before = results(tmp_path)
    succeed(tmp_path, "sweep", *SMALL, *BESIDE)
    assert results(tmp_path) == before
    assert len(registered(tmp_path)) == 3
    check_complete(tmp_path, FINISHED_SIZE)
    records = journal(tmp_path).read()
    assert not any(isinstance(record, ContinuationRecord) for record in records)
    done = run(tmp_path, "sweep", *SMALL, *BESIDE, "budget.trials=7")
    assert done.returncode == 0, done.stderr
    assert "is continued with budget.trials: 5 -> 7" in done.stderr
    (continued,) = [r for r in journal(tmp_path).read() if isinstance(r, ContinuationRecord)]
    assert continued.changes == ["budget.trials: 5 -> 7"]
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (sweep,) = [each for each in mlflow_runs(uri) if each.data.tags["lossfleet.kind"] == "sweep"]
    assert sweep.data.params["budget.trials"] == "5"
    assert sweep.data.tags["continued.1"].endswith("budget.trials: 5 -> 7")
    after = results(tmp_path)
    assert {key: after[key] for key in before} == before
    searched = {key for key in after if len(key) == 3 and key[1] == "search"}
    assert len(searched) == SIZE.strategies * 7
    # A model of one strategy is made later, as a further version.
    (sweep,) = (path.name for path in (tmp_path / "studies").iterdir())
    said = succeed(tmp_path, "keep", sweep, "--strategy", "ohem", "--members", "3")
    assert f"Model of ohem: studies/{sweep}/models/ohem" in said
    assert len(read_model(model_folder(tmp_path, "ohem")).description["made"]["seeds"]) == 3
    assert [each.tags["strategy"] for each in registered(tmp_path)].count("ohem") == 2


def test_a_diverged_trial_fails_with_its_reason_and_the_sweep_goes_on(tmp_path):
    small = [each for each in SMALL if not each.startswith(("strategy", "budget.trials"))]
    grid = ("optimizer.lr=0.001,1e30", "optimizer.weight_decay=0,0.1", "search=grid")
    done = run(tmp_path, "sweep", *small, "strategy=ce", *grid, "tracking.enabled=false")
    assert done.returncode == 0, done.stderr
    trials = [r for r in journal(tmp_path).read() if isinstance(r, TrialRecord) and r.stage == "search"]
    assert {r.state for r in trials if r.params["optimizer.lr"] == 1e30} == {"FAIL"}
    assert {r.state for r in trials if r.params["optimizer.lr"] == 0.001} <= {"COMPLETE", "PRUNED"}
    assert all("diverged" in r.reason for r in trials if r.state == "FAIL")
    assert "trials of ce failed, the first because it diverged" in done.stderr


def test_a_sweep_of_which_nothing_is_left_says_so(tmp_path):
    small = [each for each in SMALL if not each.startswith("strategy")]
    done = run(tmp_path, "sweep", *small, "strategy=ce", "optimizer.lr=1e30", "tracking.enabled=false")
    assert done.returncode == 2
    assert "no trial was completed: 5 failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_imported_ahead_is_there():
    import_conclusion()
