"""The codebook: quantisation without one-hot matrices, its moving average, dead codes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from pathray.pretraining import nearest as nearest_module
from pathray.pretraining.codebook import Codebook
from pathray.pretraining.nearest import centres, kmeans, nearest, tally


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, width, generator=draw), dim=1)


def codebook(size: int = 8, width: int = 4, **kwargs: int) -> Codebook:
    torch.manual_seed(0)
    return Codebook(size, width, **kwargs).train()  # type: ignore[arg-type]


def moved_by_one_hot(
    tokens: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The update as its formula reads, with a matrix of tokens x codes."""
    distances = (tokens[:, None] - weight[None]).square().sum(-1)
    hot = functional.one_hot(distances.argmin(1), len(weight)).float()
    counts = hot.sum(0)
    means = functional.normalize(hot.T @ tokens / counts.clamp(min=1)[:, None], dim=1)
    new = torch.where(counts[:, None] > 0, means, weight)
    return counts, functional.normalize(0.99 * weight + 0.01 * new, dim=1)


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(2, 20), st.integers(2, 9), st.integers(0, 1000))
def test_the_update_is_that_of_the_one_hot_formulation(
    tokens: int, size: int, width: int, seed: int
) -> None:
    seen, book = unit(tokens, width, seed), codebook(size, width)
    counts, weight = moved_by_one_hot(seen, book.weight)
    book(seen[None] * 5)
    book.update()
    torch.testing.assert_close(book.weight, weight)
    torch.testing.assert_close(book.hits, 0.01 * counts)


def test_tokens_in_chunks_are_tokens_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, codes = unit(50, 6, 1), unit(9, 6, 2)
    whole = nearest(tokens, codes)
    monkeypatch.setattr(nearest_module, "CHUNK", 7)
    chunked = nearest(tokens, codes)
    assert torch.equal(whole[1], chunked[1])
    torch.testing.assert_close(whole[0], chunked[0])


def test_the_gradient_passes_straight_through_and_the_commitment_pulls() -> None:
    book = codebook()
    vectors = torch.randn(2, 3, 4, requires_grad=True)
    quantised = book(vectors)
    torch.testing.assert_close(quantised.vectors, book.weight[quantised.codes])
    through = torch.randn(2, 3, 4)
    (quantised.vectors * through).sum().backward()
    again = vectors.detach().requires_grad_()
    (functional.normalize(again, dim=-1) * through).sum().backward()
    assert again.grad is not None
    torch.testing.assert_close(vectors.grad, again.grad)
    unit_vectors = functional.normalize(vectors, dim=-1)
    expected = (unit_vectors - book.weight[quantised.codes]).square().mean()
    torch.testing.assert_close(quantised.commitment, expected)


def test_nothing_moves_in_evaluation_mode() -> None:
    book = codebook().eval()
    before = {name: tensor.clone() for name, tensor in book.state_dict().items()}
    book(torch.randn(2, 3, 4))
    book.update()
    assert all(torch.equal(before[name], tensor) for name, tensor in book.state_dict().items())


def test_a_dead_code_becomes_the_token_that_fits_worst() -> None:
    book = codebook(size=3, width=2, reseed_after=2)
    book.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    seen = functional.normalize(torch.tensor([[[1.0, 0.1], [0.1, 1.0], [0.9, 0.8]]]), dim=-1)
    book(seen)
    book.update()
    assert book.idle.tolist() == [0, 0, 1]
    torch.testing.assert_close(book.weight[2], torch.tensor([-1.0, 0.0]))
    book(seen)
    book.update()
    assert book.idle.tolist() == [0, 0, 0]
    torch.testing.assert_close(book.weight[2], seen[0, 2])


def test_dead_codes_stay_where_they_are_unless_asked() -> None:
    book = codebook(size=3, width=2)
    far = torch.tensor([-1.0, 0.0])
    book.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    for _ in range(300):
        book(torch.tensor([[[1.0, 0.1]]]))
        book.update()
    torch.testing.assert_close(book.weight[2], far)
    assert book.report()["codebook_dead"] == 2


def test_the_report_counts_codes_and_their_evenness() -> None:
    book = codebook(size=4, width=4)
    book.weight.copy_(torch.eye(4))
    book(torch.eye(4)[None, :2])
    book.update()
    report = book.report()
    assert report["codebook_usage"] == 0.5
    assert report["codebook_dead"] == 2
    assert report["codebook_perplexity"] == pytest.approx(2)
    book(torch.eye(4)[None])
    book.update()
    assert book.report()["codebook_usage"] == 1
    assert 3 < book.report()["codebook_perplexity"] < 4


def test_kmeans_finds_separated_directions() -> None:
    truth = torch.eye(6)
    tokens = functional.normalize(truth.repeat(40, 1) + 0.05 * unit(240, 6, 5), dim=1)
    found = kmeans(tokens, 12, iterations=10, seed=1)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(12))
    assert nearest(truth, found)[0].min() > 0.99


def test_kmeans_is_at_rest_where_it_stops() -> None:
    tokens = unit(300, 4, 8)
    found = kmeans(tokens, 10, iterations=200, seed=0)
    again = centres(tally(tokens, nearest(tokens, found)[1], 10), otherwise=found)
    torch.testing.assert_close(found, again)


def test_kmeans_takes_fewer_tokens_than_centres() -> None:
    assert kmeans(unit(5, 4, 0), 12, iterations=2, seed=0).isfinite().all()


def test_the_start_does_not_depend_on_the_order_of_tokens() -> None:
    tokens = torch.randn(200, 4)
    first, second = codebook(size=16), codebook(size=16)
    first.start(tokens, seed=4)
    second.start(tokens[torch.randperm(200)] * 3, seed=4)
    torch.testing.assert_close(first.weight, second.weight)
