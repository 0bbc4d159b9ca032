"""The pool of rows: pages that are shared, kept, and given to others; and the cache of what was made lately."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from mindspore import Tensor, ops

from lossfleet.runners.cache import ByteBoundedCache
from lossfleet.runners.training.pool import Pool


def rows(number: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return np.full((count, 2), number, np.float32), np.full(count, number, np.int32)


def at(pool: Pool, first: int, count: int = 3) -> list[list[float]]:
    return (
        ops.gather(pool.tensor, Tensor(np.arange(first, first + count, dtype=np.int32)), 0).asnumpy().tolist()
    )


def test_the_tensor_shows_what_was_added_after_it_was_used():
    pool = Pool(pages=2, page_rows=4, features=2)
    first = pool.add("a", *rows(1), in_use=())
    assert at(pool, first) == [[1, 1, 1]] * 3
    second = pool.add("b", *rows(2), in_use=())
    assert at(pool, second) == [[2, 2, 1]] * 3
    assert at(pool, first) == [[1, 1, 1]] * 3
    assert pool.labels.tolist() == [1, 1, 1, 0, 2, 2, 2, 0]


def test_a_set_keeps_its_page_until_another_one_needs_it():
    pool = Pool(pages=2, page_rows=4, features=2)
    first, second = (pool.add(key, *rows(number), in_use=()) for number, key in enumerate("ab"))
    # It is not copied anew: other rows of the same name are ignored.
    assert pool.add("a", *rows(9), in_use={"b"}) == first
    assert at(pool, first) == [[0, 0, 1]] * 3
    assert pool.add("c", *rows(3), in_use={"a"}) == second
    assert at(pool, second) == [[3, 3, 1]] * 3
    assert pool.has_room("a", {"a", "c"})
    assert not pool.has_room("b", {"a", "c"})
    assert pool.has_room("b", {"a"})


def test_a_pool_refuses_what_has_no_place():
    pool = Pool(pages=1, page_rows=4, features=2)
    with pytest.raises(ValueError, match="a page has 4 rows; expected room for 5"):
        pool.add("a", *rows(0, count=5), in_use=())
    pool.add("a", *rows(0), in_use=())
    with pytest.raises(ValueError, match="all 1 pages are in use"):
        pool.add("b", *rows(0), in_use={"a"})


def test_what_is_held_or_recent_is_not_made_again():
    made = []

    def make(key: int) -> np.ndarray:
        made.append(key)
        return np.full(10, key, np.int64)

    recent: ByteBoundedCache[np.ndarray] = ByteBoundedCache(160)
    held = recent.get(0, lambda: make(0))
    for key in (1, 2, 0, 2):
        assert recent.get(key, lambda key=key: make(key))[0] == key
    assert made == [0, 1, 2]
    # Room for two: 1 was asked for before 0 and 2, 0 is held.
    recent.get(3, lambda: make(3))
    assert recent.get(0, lambda: make(0)) is held
    recent.get(1, lambda: make(1))
    assert made == [0, 1, 2, 3, 1]


def test_what_is_too_large_to_keep_is_shared_while_it_is_held():
    recent: ByteBoundedCache[np.ndarray] = ByteBoundedCache(79)
    held = recent.get("large", lambda: np.zeros(10))
    assert recent.get("large", lambda: np.ones(10)) is held
    del held
    gc.collect()
    assert recent.get("large", lambda: np.ones(10))[0] == 1
