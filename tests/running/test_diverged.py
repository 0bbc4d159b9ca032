"""Final replicates that diverge: each fails alone, counts as chance or not at all, and is said."""

from __future__ import annotations

import math

import pytest
from mlflow_sweeps import mirror
from whole_sweeps import TINY, journal, results

from lossfleet.runners.records import EndRecord, ReplicateRecord, TrialRecord
from lossfleet.runners.training.native.fleet import NativeFleet
from lossfleet.sweeps.commands import cli
from lossfleet.sweeps.comparison.frame import frame, frame_from_records
from lossfleet.sweeps.comparison.summary import summary

pytestmark = pytest.mark.usefixtures("without_figures")

ARGUMENTS = ["sweep", *TINY, "tracking.enabled=false", "fleet.processes=1"]


def diverge(monkeypatch, seeds: tuple[int, ...], strategy: str = "focal") -> None:
    """The training loss of the strategy's final replicates of these seeds is not finite from the second epoch on."""
    train_epoch = NativeFleet.train_epoch

    def trained(fleet):
        losses = train_epoch(fleet)
        for slot, each in enumerate(fleet.occupants):
            if each and each.config.strategy == strategy and each.seed in seeds and fleet.epochs[slot] > 1:
                losses[slot] = math.inf
        return losses

    monkeypatch.setattr(NativeFleet, "train_epoch", trained)


def finals_in(folder) -> list[ReplicateRecord]:
    records = journal(folder, "tiny").read()
    return [
        r for r in records if isinstance(r, ReplicateRecord) and (r.strategy, r.stage) == ("focal", "final")
    ]


def is_final(record) -> bool:
    return isinstance(record, TrialRecord) and (record.strategy, record.stage) == ("focal", "final")


def test_one_that_diverges_counts_as_chance_and_leaves_the_others(workdir, monkeypatch, capsys, uri):
    arguments = [*ARGUMENTS, "fleet.slots=2"]
    assert cli.main([*arguments, "name=healthy"]) == 0
    diverge(monkeypatch, (101,))
    assert cli.main(arguments) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("Training diverged, which counts as chance: focal on 1 split.") == 1
    healthy = {key: value for key, value in results(workdir, "healthy").items() if len(key) == 4}
    found = {key: value for key, value in results(workdir, "tiny").items() if len(key) == 4}
    others = [key for key in healthy if key[:2] != ("focal", "final") or key[3] != 1]
    assert len(others) == len(healthy) - 1
    assert {key: found[key] for key in others} == {key: healthy[key] for key in others}

    (bad,) = [r for r in finals_in(workdir) if r.state == "FAIL"]
    assert (bad.seed, bad.epochs) == (101, 2)
    assert bad.reason == "diverged: the training loss is inf at epoch 2"
    # Three classes: with all logits 0 the first class is predicted, of the log-loss ln 3 nothing is measured.
    assert bad.metrics["test_balanced_accuracy"] == pytest.approx(1 / 3)
    assert bad.metrics["test_corrected_balanced_accuracy"] == pytest.approx(1 / 3)
    assert bad.metrics["test_brier_score"] == pytest.approx(2 / 3)
    assert bad.metrics["test_mcc"] == 0
    assert "train_loss" not in bad.metrics
    (trial,) = [r for r in journal(workdir, "tiny").read() if is_final(r)]
    assert trial.state == "COMPLETE"

    table = summary(frame_from_records(journal(workdir, "tiny").read())).table.set_index("strategy")
    assert table.loc["focal", ["replicates", "missing", "diverged"]].tolist() == [3, 0, 1]
    mirror(workdir / "studies" / "tiny", uri)
    of_mlflow = summary(frame(["wine"], uri=uri, sweep="tiny")).table.set_index("strategy")
    assert of_mlflow.loc["focal"].to_dict() == pytest.approx(table.loc["focal"].to_dict(), nan_ok=True)

    # Run again nothing is trained anew, also where the end of the trial is lost.
    lines = (workdir / "studies/tiny/records.jsonl").read_bytes().splitlines(keepends=True)
    cut = next(n for n, line in enumerate(lines) if b'"kind": "trial"' in line and b'"final"' in line)
    (workdir / "studies/tiny/records.jsonl").write_bytes(b"".join(lines[:cut]))
    before = results(workdir, "tiny")
    assert cli.main(arguments) == 0
    after = results(workdir, "tiny")
    assert {key: after[key] for key in before} == before


def test_dropped_where_that_is_wanted(workdir, monkeypatch, capsys):
    diverge(monkeypatch, (101,))
    assert cli.main([*ARGUMENTS, "evaluation.diverged=drop"]) == 0
    (bad,) = [r for r in finals_in(workdir) if r.state == "FAIL"]
    assert not [name for name in bad.metrics if name.startswith("test_")]
    table = summary(frame_from_records(journal(workdir).read())).table.set_index("strategy")
    assert table.loc["focal", ["replicates", "missing", "diverged"]].tolist() == [2, 1, 0]
    assert table.loc["ce", ["replicates", "missing", "diverged"]].tolist() == [2, 0, 0]
    assert "There is no score of focal on 1 split" in " ".join(capsys.readouterr().out.split())


def test_a_strategy_of_which_all_diverge_has_no_result(workdir, monkeypatch, capsys):
    diverge(monkeypatch, (100, 101, 102))
    assert cli.main(ARGUMENTS) == 0
    (trial,) = [r for r in journal(workdir).read() if is_final(r)]
    assert (trial.state, trial.reason) == ("FAIL", "diverged: the training loss is inf at epoch 2")
    printed = " ".join(capsys.readouterr().out.split())
    assert "Training diverged, which counts as chance: focal on 3 splits." in printed
    (end,) = [r for r in journal(workdir).read() if isinstance(r, EndRecord)]
    assert end.winner.startswith("ce")
