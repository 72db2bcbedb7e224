"""Aggregators: one packed forward is the bags' own forwards, and they learn."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from pathray.errors import RequestError
from pathray.mil import gated, segments
from pathray.mil.aggregator import Aggregated, Aggregator, AggregatorSettings
from pathray.mil.aggregators import aggregators, build_aggregator
from pathray.mil.clam import instance_losses

NAMES = sorted(aggregators)
SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def small(name: str, outputs: int = 3, **changed: object) -> Aggregator:
    """A narrow model without dropout."""
    values = {"dim": 6, "hidden": 16, "attention": 4, "dropout": 0.0} | changed
    return build_aggregator(AggregatorSettings(aggregator=name, outputs=outputs, **values), seed=3)


def packed(sizes: list[int], seed: int = 0, dim: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *itertools.accumulate(sizes)])
    return torch.randn(sum(sizes), dim, generator=generator), offsets


def alone(model: Aggregator, features: torch.Tensor, sizes: list[int]) -> list[Aggregated]:
    return [model(bag, torch.tensor([0, len(bag)])) for bag in features.split(sizes)]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12)
@given(sizes=SIZES, outputs=st.sampled_from([1, 2, 4]))
def test_one_packed_forward_equals_the_bags_forwards(
    name: str, sizes: list[int], outputs: int
) -> None:
    model = small(name, outputs).eval()
    features, offsets = packed(sizes)
    together, each = model(features, offsets), alone(model, features, sizes)
    close = {"atol": 1e-5, "rtol": 1e-5}
    assert together.logits.shape == (len(sizes), outputs)
    torch.testing.assert_close(together.logits, torch.cat([x.logits for x in each]), **close)
    torch.testing.assert_close(together.attention, torch.cat([x.attention for x in each]), **close)
    shares = model.normalised(together)
    torch.testing.assert_close(shares, torch.cat([model.normalised(x) for x in each]), **close)
    assert (shares >= 0).all()
    sums = together.segments.sum(shares)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("name", ["transmil", "clam_mb", "dsmil"])
def test_bags_of_thousands_of_tiles_are_no_different(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "CHUNK_CPU", 500)
    sizes = [257, 1, 800]
    model = small(name).eval()
    features, offsets = packed(sizes)
    together = model(features, offsets)
    each = torch.cat([x.logits for x in alone(model, features, sizes)])
    torch.testing.assert_close(together.logits, each, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_one_packed_backward_equals_the_mean_of_the_bags(name: str) -> None:
    sizes, labels = [9, 1, 30, 4], torch.tensor([0, 2, 1, 2])
    model = small(name, subtyping=True)
    if name == "transmil":
        model.eval()  # its attention has a dropout of its own
    features, offsets = packed(sizes)

    def gradients(batches: list[tuple[Aggregated, torch.Tensor]]) -> list[torch.Tensor]:
        model.zero_grad()
        for found, target in batches:
            loss = model.loss(found, lambda logits, t=target: cross_entropy(logits, t), target)
            (loss / len(batches)).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    together = gradients([(model(features, offsets), labels)])
    apart = gradients(list(zip(alone(model, features, sizes), labels.split(1), strict=True)))
    assert len(together) == len(list(model.parameters()))
    for ours, theirs in zip(together, apart, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_aggregator_learns_bags_with_a_planted_tile(name: str) -> None:
    torch.manual_seed(0)
    sizes = torch.randint(3, 30, (16,)).tolist()
    labels = torch.arange(16) % 2
    features, offsets = packed(sizes, dim=6)
    for bag in labels.nonzero().flatten():  # a third of its tiles
        start, size = int(offsets[bag]), sizes[bag]
        features[start : start + 1 + size // 3, 0] += 4
    model = small(name, outputs=2, dropout=0.1)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(50):
        found = model(features, offsets)
        loss = model.loss(found, lambda logits: cross_entropy(logits, labels), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    predicted = model.eval()(features, offsets).logits.argmax(1)
    assert (predicted == labels).float().mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_features_give_nearly_the_same_and_half_ones_are_widened(name: str) -> None:
    sizes = [50, 300, 3]
    model = small(name).eval()
    features, offsets = packed(sizes)
    exact = model(features.half().float(), offsets)
    assert torch.equal(model(features.half(), offsets).logits, exact.logits)
    rough = model(features.bfloat16(), offsets)
    assert rough.logits.dtype == rough.attention.dtype == torch.float32
    torch.testing.assert_close(rough.logits, exact.logits, atol=0.05, rtol=0.05)
    labels = torch.tensor([0, 1, 2])
    losses = [
        model.loss(found, partial(cross_entropy, target=labels), labels) for found in (rough, exact)
    ]
    torch.testing.assert_close(*losses, atol=0.05, rtol=0.05)
    losses[0].backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("total", [5, 23])
def test_gated_attention_has_the_numerical_gradients(
    total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "CHUNK_CPU", 8)
    layers = [torch.nn.Linear(a, b).double() for a, b in ((3, 4), (4, 6), (3, 2))]
    features = torch.randn(total, 3, dtype=torch.float64, requires_grad=True)
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]

    def run(dropout: float) -> torch.Tensor:
        torch.manual_seed(1)
        hidden, scores = gated.gated_attention(features, *layers, dropout)
        return torch.cat([hidden, scores], 1)

    def apart() -> torch.Tensor:
        hidden = layers[0](features).relu()
        a, b = layers[1](hidden).chunk(2, 1)
        return torch.cat([hidden, layers[2](a.tanh() * b.sigmoid())], 1)

    torch.testing.assert_close(run(0.0), apart())
    for dropout in (0.0, 0.25):
        inputs = (features, *parameters)
        assert torch.autograd.gradcheck(lambda *_, d=dropout: run(d), inputs)


def test_dropout_keeps_the_expected_value_and_the_asked_share() -> None:
    layers = [torch.nn.Linear(8, 512), torch.nn.Linear(512, 64), torch.nn.Linear(32, 1)]
    features = torch.randn(1, 8).expand(3000, 8).contiguous()
    torch.manual_seed(0)
    with torch.no_grad():
        exact, _ = gated.gated_attention(features[:1], *layers)
        hidden, _ = gated.gated_attention(features, *layers, 0.25)
    alive = exact[0] > 0
    assert (hidden[:, alive] > 0).float().mean() == pytest.approx(0.75, abs=0.003)
    torch.testing.assert_close(hidden.mean(0), exact[0], atol=0.05, rtol=0.05)


def test_the_smooth_svm_loss_is_the_papers() -> None:
    logits = torch.tensor([[[2.0, -1.0], [0.5, 0.5]]])
    losses = instance_losses(logits, torch.tensor([[0, 1]]), "svm")
    first = torch.tensor([2.0, 0.0]).logsumexp(0) - 2.0  # the wrong class's margin of 1
    second = torch.tensor([1.5, 0.5]).logsumexp(0) - 0.5
    torch.testing.assert_close(losses, torch.stack([first, second])[None])


def test_clam_without_labels_has_only_the_bags_loss() -> None:
    model = small("clam_sb", outputs=1)
    found = model(*packed([4, 5]))
    assert model.loss(found, lambda logits: logits.sum()) == found.logits.sum()


def test_equal_seeds_build_equal_models_without_touching_torchs_own() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two = (small("abmil").state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(before, torch.random.get_rng_state())


def test_wrong_names_widths_and_empty_bags_are_refused() -> None:
    with pytest.raises(RequestError, match="unknown aggregator 'median'; known: abmil"):
        small("median")
    model = small("abmil")
    with pytest.raises(ValueError, match=r"features are \(4, 5\), not \(T, 6\)"):
        model(torch.zeros(4, 5), torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="bag 1 of the batch has no tiles"):
        model(torch.zeros(4, 6), torch.tensor([0, 4, 4]))
    with pytest.raises(ValueError, match="offsets end at 3, not 4"):
        model(torch.zeros(4, 6), torch.tensor([0, 3]))
