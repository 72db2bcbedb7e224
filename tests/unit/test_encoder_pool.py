"""How many encoders a cluster gets, and with what."""

import pytest

from jobs.cluster import Capacity
from jobs.embed import Flags
from jobs.encoding import CPU_BATCH, GPU_BATCH, choose_pool, counted


def flags(**given: object) -> Flags:
    return Flags.model_validate({"slides": "s", "out": "o", "encoder": "mean_rgb", **given})


@pytest.mark.parametrize("cpus", [1, 2, 8, 64])
def test_cpu_encoders_leave_half_of_the_cpus_to_reading(cpus):
    pool = choose_pool(flags(), Capacity(cpus, 0, 1, cpus))
    assert pool.size * pool.cpus <= cpus / 2
    assert pool.size * pool.threads == cpus
    assert pool.gpus == 0
    assert pool.batch_size == CPU_BATCH


def test_a_cluster_with_gpus_gets_an_encoder_on_each():
    pool = choose_pool(flags(), Capacity(64, 4, 2, 32))
    assert (pool.size, pool.gpus, pool.batch_size) == (4, 1.0, GPU_BATCH)


def test_flags_decide_where_they_are_given():
    asked = flags(num_encoders=3, gpus_per_encoder=0.5, batch_size=7)
    pool = choose_pool(asked, Capacity(64, 4, 2, 32))
    assert (pool.size, pool.gpus, pool.batch_size) == (3, 0.5, 7)


def test_gpus_can_be_left_alone():
    pool = choose_pool(flags(gpus_per_encoder=0), Capacity(8, 1, 1, 8))
    assert pool.gpus == 0
    assert pool.threads == 8


def test_what_was_counted_on_a_cluster_that_can_grow_is_told():
    def told(capacity: Capacity, **given: object) -> str | None:
        return counted(flags(**given), capacity, choose_pool(flags(**given), capacity))

    empty = Capacity(0, 0, 1, 1, grows=True)
    note = told(empty)
    assert note is not None
    assert note.startswith("1 encoders with 1 CPU threads each, by the nodes that are there now")
    assert "--num-encoders and --gpus-per-encoder" in note
    assert "1 encoders with 1 GPU each" in (told(empty, gpus_per_encoder=1) or "")
    assert told(empty, gpus_per_encoder=1, num_encoders=8) is None
    assert told(Capacity(8, 0, 1, 8)) is None
