"""Grouping replicates by the shape of the fleet they can share: a pure function."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runners.shape import FleetShape, group_by_shape

SHAPES = st.builds(
    FleetShape,
    features=st.integers(1, 3),
    classes=st.integers(2, 3),
    train_rows=st.integers(1, 3),
    batch_size=st.integers(1, 3),
    widths=st.lists(st.integers(1, 2), max_size=2).map(tuple),
    dropout=st.booleans(),
    mining=st.sampled_from(["none", "fraction", "ratio"]),
    beta1=st.just(0.9),
    beta2=st.just(0.999),
    epsilon=st.just(1e-8),
)
ITEMS = st.lists(st.tuples(st.integers(), SHAPES), max_size=30)


@given(ITEMS)
def test_every_item_is_in_the_group_of_its_shape_exactly_once(items):
    groups = group_by_shape(enumerate(items), lambda item: item[1][1])
    assert sorted(index for group in groups.values() for index, _ in group) == list(range(len(items)))
    for shape, group in groups.items():
        assert group
        assert all(item[1] == shape for _, item in group)


@given(ITEMS)
def test_groups_and_their_items_keep_the_order_of_appearance(items):
    groups = group_by_shape(enumerate(items), lambda item: item[1][1])
    firsts = [group[0][0] for group in groups.values()]
    assert firsts == sorted(firsts)
    for group in groups.values():
        indices = [index for index, _ in group]
        assert indices == sorted(indices)


def test_steps_round_up():
    def steps(rows: int, batch_size: int) -> int:
        return FleetShape(2, 2, rows, batch_size, (), False, "none", 0.9, 0.999, 1e-8).steps

    assert [steps(64, 64), steps(65, 64), steps(1, 64), steps(127, 64)] == [1, 2, 1, 2]
