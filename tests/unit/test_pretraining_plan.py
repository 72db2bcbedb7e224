"""Which tiles a batch holds, and which of them a worker reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathray.pretraining.plan import Plan, Samples
from pathray.pretraining.rowgroups import RowGroups

TILE_BYTES = 22_000
"""A JPEG of 224 pixels, about."""


def laid_out(rows: list[int]) -> RowGroups:
    """Row groups that only a plan looks at, one a shard, one shard a slide."""
    n = len(rows)
    zeros, counts = np.zeros(n, np.int64), np.array(rows, np.int64)
    return RowGroups(
        tuple(f"slide-{i:05d}-00000.parquet" for i in range(n)),
        zeros,
        zeros,
        np.arange(n),
        zeros,
        counts,
        zeros,
        counts * TILE_BYTES,
        tile_size=224,
    )


def tiles_of(samples: Samples) -> list[tuple[int, int]]:
    return list(zip(samples.group.tolist(), samples.row.tolist(), strict=True))


PLANS = st.builds(
    lambda rows, batch, seed, groups_a_window: Plan(
        laid_out(rows), batch, seed, groups_a_window * np.mean(rows) * TILE_BYTES / 1e6
    ),
    st.lists(st.integers(1, 20), min_size=1, max_size=12),
    st.integers(1, 40),
    st.integers(0, 2**40),
    st.integers(1, 14),
)


@settings(max_examples=60)
@given(plan=PLANS)
def test_every_tile_comes_once_an_epoch_and_every_batch_is_full(plan: Plan) -> None:
    epochs = 3
    batches = -(-epochs * plan.tiles // plan.batch_size)
    seen = []
    for step in range(batches):
        samples = plan.batch(step)
        assert samples.index.tolist() == list(range(plan.batch_size))
        # Where an epoch ends inside a batch, its windows tell the epochs apart.
        epoch = samples.window // plan.windows
        seen += list(zip(epoch.tolist(), *zip(*tiles_of(samples), strict=True), strict=True))
    every = [
        (epoch, group, row)
        for epoch in range(epochs)
        for group, count in enumerate(plan.groups.rows)
        for row in range(count)
    ]
    assert sorted(of for of in seen if of[0] < epochs) == every


@settings(max_examples=60)
@given(plan=PLANS, step=st.integers(0, 1000), world=st.integers(1, 9))
def test_workers_together_hold_the_batch_whatever_their_number(
    plan: Plan, step: int, world: int
) -> None:
    whole = plan.batch(step)
    parts = [plan.batch(step, rank, world) for rank in range(world)]
    assert [i for part in parts for i in part.index] == whole.index.tolist()
    assert [tile for part in parts for tile in tiles_of(part)] == tiles_of(whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@settings(max_examples=60)
@given(
    plan=PLANS,
    world=st.integers(1, 4),
    first=st.integers(0, 30),
    steps=st.integers(0, 12),
    data=st.data(),
)
def test_a_worker_reads_just_what_its_batches_hold_in_the_order_of_need(
    plan: Plan, world: int, first: int, steps: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, world - 1))
    needed: dict[tuple[int, int], list[int]] = {}
    for step in range(first, first + steps):
        samples = plan.batch(step, rank, world)
        windows = zip(samples.window.tolist(), samples.place.tolist(), strict=True)
        for at, row in zip(windows, samples.row.tolist(), strict=True):
            needed.setdefault(at, []).append(row)
    readings = list(plan.readings(rank, world, first, first + steps))
    assert {(r.window, r.place): r.rows.tolist() for r in readings} == needed
    steps_of_need = []
    for reading in readings:
        steps_of_need.append(
            next(
                step
                for step in range(first, first + steps)
                if ((s := plan.batch(step, rank, world)).window == reading.window).any()
                and (s.place[s.window == reading.window] == reading.place).any()
            )
        )
    assert [r.window for r in readings] == sorted(r.window for r in readings)
    assert steps_of_need == sorted(steps_of_need)


@pytest.mark.parametrize("step", [0, 99_999, 100_000])
def test_a_batch_does_not_depend_on_what_was_asked_before(step: int) -> None:
    groups = laid_out([300, 200, 350, 17] * 5)
    asked = Plan(groups, 256, 7, 20)
    for other in (3, step + 1, step - 1 if step else 0):
        asked.batch(other)
    assert tiles_of(asked.batch(step)) == tiles_of(Plan(groups, 256, 7, 20).batch(step))


def test_seeds_epochs_and_batch_sizes_make_other_orders() -> None:
    groups = laid_out([50] * 8)
    plan = Plan(groups, 100, 0)
    first = tiles_of(plan.batch(0))
    assert first != tiles_of(Plan(groups, 100, 1).batch(0))
    assert sorted(first) != sorted(tiles_of(plan.batch(4)))


def test_a_batch_of_256_holds_all_of_20_slides_in_proportion() -> None:
    plan = Plan(laid_out([370] * 20), 256, 0)
    for step in range(0, 50, 7):
        counts = np.bincount(plan.batch(step).group, minlength=20)
        assert counts.min() >= 10
        assert counts.max() <= 16


def test_a_batch_of_256_holds_hundreds_of_slides_where_there_are_thousands() -> None:
    plan = Plan(laid_out([370] * 3000), 256, 0)
    assert 10 < plan.windows < 20
    for step in (0, 500, 1003):
        samples = plan.batch(step)
        assert len(set(samples.group.tolist())) >= 200
        assert np.bincount(samples.group).max() <= 4


@pytest.mark.parametrize(("world", "most"), [(1, 1.01), (2, 1.05), (8, 1.15), (32, 1.6)])
def test_hardly_a_row_group_is_read_by_two_workers(world: int, most: float) -> None:
    groups = laid_out([370, 130] * 1000)
    plan = Plan(groups, 2048, 0)
    steps = plan.tiles // 2048
    readings = list(plan.readings(world // 2, world, 0, steps))
    read = sum(int(groups.stop[reading.group]) for reading in readings)
    assert read <= most * sum(len(reading.rows) * TILE_BYTES for reading in readings)


def test_the_tiles_in_a_batch_are_as_random_as_draws() -> None:
    """Two tiles of one slide meet as often as any others of it do."""
    plan = Plan(laid_out([40] * 10), 40, 3)
    meetings = np.zeros((40, 40), int)
    for step in range(10 * 200):
        samples = plan.batch(step)
        rows = samples.row[samples.group == 0]
        meetings[np.ix_(rows, rows)] += 1
    apart = meetings[~np.eye(40, dtype=bool)]
    expected = apart.mean()
    assert expected > 10
    assert np.abs(apart - expected).max() < 6 * np.sqrt(expected)
