"""Objectives under data parallelism: what counts is the effective batch."""

from pathlib import Path

import pytest
import torch
from training_ranks import train, train_on_two_ranks


@pytest.mark.parametrize("name", ["vqkd", "beitv2"])
def test_two_ranks_and_micro_batches_equal_one_rank_with_the_whole_batch(
    name: str, tmp_path: Path
) -> None:
    """Parameters and, for the tokenizer, the codebook: k-means start, moving average, new codes."""
    whole = train(name, tmp_path, rank=0, ranks=1, micro_batches=1)
    accumulated = train(name, tmp_path, rank=0, ranks=1, micro_batches=4)
    first, second = train_on_two_ranks(name, tmp_path, micro_batches=2)
    for key, expected in whole.items():
        torch.testing.assert_close(accumulated[key], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(first[key], expected, atol=1e-5, rtol=1e-4)
        assert torch.equal(first[key], second[key]), f"{key} differs between ranks"
