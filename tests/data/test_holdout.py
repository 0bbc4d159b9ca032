"""Rows put aside before the search: no search trains or validates on what any final replicate is tested on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_splits import COUNTS, PAIRS, SHARES, counts_of, toy

from lossfleet.conf.errors import UserError
from lossfleet.conf.evaluations import Evaluation
from lossfleet.conf.schema import choose
from lossfleet.runners.data.loading import open_dataset
from lossfleet.runners.data.parts import Shares, draw_parts
from lossfleet.runners.data.splits import make_split

# 0.4 of 61, 7 and 23.
POOL = [24, 3, 9]


def rows_of(dataset, seed: int, split: int, held_out: float = 0.4) -> list[np.ndarray]:
    """The rows of the training, validation and test part."""
    return draw_parts(dataset, SHARES._replace(held_out=held_out), seed=seed, split=split)[0]


def held_out_rows(dataset) -> list[int]:
    """All rows that some pair of seed and split tests on."""
    tested = [rows_of(dataset, seed, split)[2] for seed in range(40) for split in (0, 1)]
    return sorted({int(row) for rows in tested for row in rows})


def test_what_is_tested_on_is_never_trained_or_validated_on():
    dataset = toy()
    pool = held_out_rows(dataset)
    assert counts_of(dataset.labels[pool]) == POOL
    for seed, split in PAIRS:
        train, validation, test = rows_of(dataset, seed, split)
        assert sorted([*pool, *train, *validation]) == list(range(sum(COUNTS)))
        assert set(test) < set(pool)
        parts = make_split(dataset, SHARES._replace(held_out=0.4), seed=seed, split=split)
        np.testing.assert_array_equal(parts.test_labels, dataset.labels[np.sort(test)])
        assert parts.pool_rows == sum(POOL)
        assert counts_of(parts.test_labels) == [18, 2, 7]
        assert counts_of(parts.validation_labels) == [12, 1, 5]
        assert counts_of(parts.train_labels) == parts.class_counts.tolist() == [25, 3, 9]
        assert parts.draws == 37
        assert parts.rarest_class == 1


def test_test_parts_differ_within_the_pool_and_are_all_of_it_where_they_must():
    for held_out, tests in ((0.4, len(PAIRS)), (0.3, 1)):
        drawn = [rows_of(toy(), *pair, held_out) for pair in PAIRS]
        assert len({tuple(np.sort(test)) for _, _, test in drawn}) == tests
        assert len({tuple(np.sort(train)) for train, _, _ in drawn}) == len(PAIRS)
    assert make_split(toy(), SHARES._replace(held_out=0.3), seed=0, split=0).pool_rows == 27


def test_whole_groups_are_put_aside():
    groups = np.arange(sum(COUNTS)) // 3
    dataset = replace(toy(), groups=groups)
    pool = set(groups[held_out_rows(dataset)])
    for seed, split in PAIRS:
        train, validation, test = (set(groups[rows]) for rows in rows_of(dataset, seed, split))
        assert test < pool
        assert not pool & (train | validation)
        assert not train & validation


def test_nothing_is_put_aside_of_parts_that_are_given():
    parts = np.arange(sum(COUNTS)) % 3
    with pytest.raises(UserError, match="evaluation=holdout on toy, whose test part is given"):
        make_split(
            replace(toy(), parts=parts.astype(np.int8)), SHARES._replace(held_out=0.4), seed=0, split=0
        )


def test_a_class_too_small_for_what_is_put_aside_is_refused():
    with pytest.raises(UserError, match="class 'kind_1' \\(4 rows\\) of toy has too few"):
        make_split(toy((31, 4)), SHARES._replace(held_out=0.5), seed=0, split=0)
    assert make_split(toy((31, 4)), SHARES._replace(held_out=0.3), seed=0, split=0).class_counts[1] == 2


def test_outer_parts_are_other_rows_and_what_is_tested_on_is_all_that_is_put_aside():
    data, evaluation = choose("data", "wine"), Evaluation("nested", outer_parts=3)
    dataset = open_dataset(data)
    drawn = []
    for number in (None, 1, 2, 3):
        shares = Shares.of(data, replace(evaluation, outer_part=number))
        tests = []
        for seed, split in PAIRS:
            (train, validation, test), pool = draw_parts(dataset, shares, seed=seed, split=split)
            assert set(test) == set(pool)
            assert sorted([*train, *validation, *test]) == list(range(len(dataset.labels)))
            tests.append(tuple(np.sort(test)))
        assert len(set(tests)) == 1
        drawn.append(tests[0])
    # A training by itself is on the first one.
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3
    # As many rows train as without anything put aside.
    resampled = make_split(dataset, Shares.of(data, Evaluation()), seed=0, split=0)
    nested = make_split(dataset, Shares.of(data, evaluation), seed=0, split=0)
    assert nested.class_counts.tolist() == resampled.class_counts.tolist()
    assert len(nested.test_labels) == len(resampled.test_labels)
