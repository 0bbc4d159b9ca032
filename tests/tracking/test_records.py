"""The journal: what is written comes back, what is torn is cut, what is broken is named."""

from __future__ import annotations

import json
import math
import os
import resource
from dataclasses import replace

import pytest

from lossfleet.conf.errors import UserError
from lossfleet.runners.records import (
    ContinuationRecord,
    EndRecord,
    Journal,
    ReplicateRecord,
    SweepRecord,
    TrialRecord,
    decode_record,
    encode_record,
)

SWEEP = SweepRecord(
    sweep="2024-01-02_a",
    data="page_blocks",
    config={"batch_size": 64, "model": {"widths": [32, 32]}, "name": None},
    environment={"mindspore": "2.10", "git": "dirty ä \u2028 \r\n"},
    started=1.5,
)
CONTINUED = ContinuationRecord(SWEEP.config, SWEEP.environment, ["budget.trials: 2 -> 3"], started=1.75)
TRIAL = TrialRecord(
    strategy="focal",
    stage="search",
    trial=3,
    state="COMPLETE",
    params={"loss.gamma": 0.1 + 0.2, "sampler": "nan", "sampler.neighbors": 5},
    config={"loss": {"name": "focal", "gamma": math.inf}},
    value=0.875,
    started=2.0,
    ended=3.0,
)
REPLICATE = ReplicateRecord(
    strategy="focal",
    stage="final",
    trial=3,
    replicate=1,
    seed=101,
    split=1001,
    state="FAIL",
    epochs=7,
    metrics={"validation_macro_f1": 0.1, "train_loss": math.nan, "test_mcc": -math.inf},
    curves={"train_loss": [(1, 0.7), (2, math.inf), (3, math.nan)], "validation_mcc": []},
    started=2.0,
    ended=2.75,
    reason="train_loss is not finite",
    engine="native",
)
END = EndRecord(state="KILLED", ended=9.0, table="| a |\n|---|", sentence="stopped by the user")
RECORDS = [SWEEP, CONTINUED, TRIAL, REPLICATE, END]


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "studies" / "one" / "records.jsonl")
    yield journal
    journal.close()


def filled(journal: Journal, records=RECORDS) -> Journal:
    for record in records:
        journal.append(record)
    return journal


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(journal, record):
    (back,) = filled(journal, [record]).read()
    assert type(back) is type(record)
    # repr tells nan from the rest of the floats, int from float and tuple from list; nan != nan does not.
    assert repr(back) == repr(record)


def test_records_keep_their_order(journal):
    assert repr(filled(journal).read()) == repr(RECORDS)


def test_every_line_is_valid_json_of_one_kind(journal):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    lines = filled(journal).path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    kinds = [json.loads(line, parse_constant=refuse)["kind"] for line in lines]
    assert kinds == ["sweep", "continuation", "trial", "replicate", "end"]


def test_a_value_that_json_does_not_have_is_refused_and_nothing_written(journal):
    filled(journal)
    with pytest.raises(TypeError):
        journal.append(replace(TRIAL, config={"path": object()}))
    assert repr(journal.read()) == repr(RECORDS)


def test_no_file_has_no_records(journal):
    assert journal.read() == []
    assert journal.follow(0) == ([], 0)
    assert not journal.path.exists()


def test_a_record_of_an_earlier_version_says_of_no_engine(journal):
    line = encode_record(REPLICATE).replace(b', "engine": "native"', b"")
    assert line == encode_record(replace(REPLICATE, engine=None))
    assert repr(decode_record(line)) == repr(replace(REPLICATE, engine=None))


def test_follow_gives_each_record_once(journal):
    filled(journal, [SWEEP, TRIAL])
    first, offset = journal.follow(0)
    assert first == [SWEEP, TRIAL]
    assert journal.follow(offset) == ([], offset)
    journal.append(END)
    assert journal.follow(offset)[0] == [END]


def test_follow_leaves_a_line_until_it_is_whole(journal):
    filled(journal, [SWEEP])
    _, offset = journal.follow(0)
    filled(journal, [END])
    line = journal.path.read_bytes()[offset:]
    for written in (line[:1], line[:-1]):
        os.truncate(journal.path, offset)
        with journal.path.open("ab") as file:
            file.write(written)
        assert journal.follow(offset) == ([], offset)
    with journal.path.open("ab") as file:
        file.write(b"\n")
    assert journal.follow(offset) == ([END], offset + len(line))


@pytest.mark.parametrize("torn", [b"{", b'{"kind": "end", "state": "FINI', b'\xe2\x80{"kind"', b"\0" * 5000])
def test_a_torn_last_line_is_ignored_by_readers_and_cut_by_the_writer(journal, torn):
    filled(journal, [SWEEP])
    journal.close()
    whole = journal.path.read_bytes()
    with journal.path.open("ab") as file:
        file.write(torn)

    reader = Journal(journal.path)
    assert reader.read() == [SWEEP]
    assert journal.path.read_bytes() == whole + torn

    journal.append(END)
    assert journal.read() == [SWEEP, END]


def test_a_file_of_nothing_but_a_torn_line_starts_anew(journal):
    journal.path.parent.mkdir(parents=True)
    journal.path.write_bytes(b'{"kind": "sw')
    assert filled(journal, [SWEEP]).read() == [SWEEP]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"",
        b"[]",
        b"17",
        b'{"not_finite": "nan"}',
        b'{"kind": "dance"}',
        b'{"state": "KILLED"}',
        b'{"kind": "end", "state": "KILLED"}',
        b'{"kind": "end", "state": "KILLED", "ended": 1, "table": "", "sentence": "", "mood": 1}',
        b"\xff\xfe",
    ],
)
def test_a_broken_line_is_named(journal, line):
    filled(journal, [SWEEP, TRIAL])
    _, offset = journal.follow(0)
    with journal.path.open("ab") as file:
        file.write(line + b"\n")
    filled(journal, [END])
    for attempt in (journal.read, lambda: journal.follow(offset)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert f"{journal.path}, line 3 " in caught.value.what
        assert "sweep, continuation, trial, replicate, reference, engine, end" in caught.value.expected


def test_each_record_is_on_disk_before_append_returns(journal, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    for record in RECORDS:
        journal.append(record)
        assert synced[-1] == journal.path.stat().st_size
    assert len(synced) == len(RECORDS)


def test_a_full_disk_leaves_the_file_as_it_was(journal):
    filled(journal, [SWEEP, TRIAL])
    whole = journal.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system takes the first ten bytes of the line and refuses the rest.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.append(REPLICATE)
        assert journal.path.read_bytes() == whole
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.append(END)
    assert journal.read() == [SWEEP, TRIAL, END]


def test_a_write_in_pieces_is_completed(journal, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:7]))
    assert filled(journal, [SWEEP, END]).read() == [SWEEP, END]


def test_a_failed_fsync_takes_the_record_back(journal, monkeypatch):
    filled(journal, [SWEEP])

    def fail(descriptor):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            journal.append(TRIAL)
    assert journal.read() == [SWEEP]
    journal.append(END)
    assert journal.read() == [SWEEP, END]


def test_a_closed_journal_opens_again(journal):
    filled(journal, [SWEEP])
    journal.close()
    journal.close()
    assert filled(journal, [END]).read() == [SWEEP, END]
