"""Objectives under data parallelism: what counts is the effective batch."""

from pathlib import Path

import pytest
import torch
from training_ranks import train, train_on_two_ranks

from pathray.pretraining.tokenizer_directory import read_tokenizer

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks left what they learned."""
    folder = tmp_path_factory.mktemp("two-ranks")
    train_on_two_ranks(folder)
    return folder


def learned(folder: Path, case: str, rank: int) -> State:
    state: State = torch.load(folder / case / f"rank{rank}.pt")
    return state


def assert_equal(state: State, expected: State) -> None:
    assert set(state) == set(expected)
    for key, tensor in expected.items():
        torch.testing.assert_close(state[key], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["vqkd", "beitv2"])
def test_two_ranks_and_micro_batches_equal_one_rank_with_the_whole_batch(
    name: str, two_ranks: Path, tmp_path: Path
) -> None:
    """Parameters and, for the tokenizer, the codebook: k-means start, moving average, new codes."""
    whole = train(name, tmp_path, rank=0, ranks=1, micro_batches=1)
    assert_equal(train(name, tmp_path, rank=0, ranks=1, micro_batches=4), whole)
    first, second = (learned(two_ranks, name, rank) for rank in range(2))
    assert_equal(first, whole)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_sharded_parameters_learn_and_export_the_same(two_ranks: Path, tmp_path: Path) -> None:
    """FSDP2 around the objective's blocks; the export gathers the shards."""
    whole = train("vqkd", tmp_path, rank=0, ranks=1, micro_batches=1)
    assert_equal(learned(two_ranks, "sharded", 0), whole)
    gathered, _ = read_tokenizer(str(two_ranks / "sharded" / "export"))
    alone, _ = read_tokenizer(str(tmp_path / "export"))
    assert_equal(gathered.state_dict(), alone.state_dict())
