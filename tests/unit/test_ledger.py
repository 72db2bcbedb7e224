"""Counting attempts at pieces, without Ray."""

import pytest

from jobs import ledger
from jobs.ledger import MAX_ATTEMPTS


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> ledger._Counts:
    import ray

    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": "alive", "Alive": True}])
    return ledger._Counts()


def test_a_piece_that_never_ends_condemns_its_slide(counts):
    for _ in range(MAX_ATTEMPTS):
        assert counts.begin("a", "piece 1", "alive") is None
    assert "killed 3 times during piece 1" in counts.begin("a", "piece 1", "alive")
    assert counts.begin("a", "piece 2", "alive") is not None
    assert counts.begin("b", "piece 1", "alive") is None


def test_a_piece_that_ends_may_be_tried_again_at_will(counts):
    for _ in range(3 * MAX_ATTEMPTS):
        assert counts.begin("a", "piece 1", "alive") is None
        counts.end("a", "piece 1")


def test_attempts_that_ended_with_their_node_do_not_count(counts):
    for _ in range(3 * MAX_ATTEMPTS):
        assert counts.begin("a", "piece 1", "lost") is None
