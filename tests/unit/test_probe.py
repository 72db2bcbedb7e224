"""Probes of frozen features: no group on both sides, balanced accuracy with an interval."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathray.errors import RequestError
from pathray.evaluation.labelled import find_labelled
from pathray.evaluation.probe import grouped_folds, knn, probe, score


def blobs(distance: float, groups: int = 30, of_each: int = 6) -> tuple[np.ndarray, ...]:
    """Features of three classes `distance` apart, each group with an offset of its own."""
    draws = np.random.default_rng(0)
    group = np.repeat(np.arange(groups), of_each)
    label = group % 3
    centres = np.eye(3, 16) * distance
    offsets = draws.normal(size=(groups, 16))
    features = centres[label] + offsets[group] + 0.1 * draws.normal(size=(len(group), 16))
    return features.astype(np.float32), label.astype(str), group.astype(str)


def test_classes_that_lie_apart_are_found():
    scores = probe(*blobs(12.0))
    assert scores["knn"].value > 0.95
    assert scores["linear"].value > 0.95


def test_features_that_only_know_their_group_are_worth_nothing():
    # A split that tore groups apart would find the twin of every tile: 1.0.
    scores = probe(*blobs(0.0))
    for found in scores.values():
        assert found.low < 1 / 3 + 0.15
        assert found.value < 0.6


@settings(max_examples=25)
@given(st.lists(st.integers(1, 6), min_size=12, max_size=40), st.integers(0, 9))
def test_no_group_is_on_both_sides_and_every_tile_is_tested_once(sizes: list[int], seed: int):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = (groups % 2).astype(str)
    tested = []
    for train, test in grouped_folds(labels, groups.astype(str), seed):
        assert not set(groups[train]) & set(groups[test])
        tested += list(test)
    assert sorted(tested) == list(range(len(groups)))


def test_a_near_neighbour_outvotes_far_ones():
    known = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    said = knn(known, np.array(["near", "far", "far", "far"]), np.array([[9, 1]], np.float32))
    assert list(said) == ["near"]


def test_the_score_is_the_mean_recall_and_lies_in_its_interval():
    labels = np.array(["a"] * 90 + ["b"] * 10)
    groups = np.array([str(i // 2) for i in range(100)])
    found = score(labels, np.array(["a"] * 100), groups)
    assert found.value == 0.5
    assert found.low == found.high == 0.5
    said = np.where(np.arange(100) % 2, labels, "a")
    half = score(labels, said, np.arange(100).astype(str))
    assert half.value == 0.75
    assert half.low < 0.75 < half.high


def test_the_interval_is_wider_when_tiles_come_in_groups():
    rng = np.random.default_rng(1)
    labels = np.array(["a", "b"] * 100)
    right = np.repeat(rng.random(20) < 0.7, 10)
    said = np.where(right, labels, np.where(labels == "a", "b", "a"))
    alone = score(labels, said, np.arange(200).astype(str))
    grouped = score(labels, said, np.repeat(np.arange(20), 10).astype(str))
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_a_label_of_a_single_group_cannot_be_probed():
    with pytest.raises(RequestError, match="two groups"):
        probe(np.zeros((4, 2), np.float32), np.array(list("aabb")), np.array(list("1123")))


def tile(folder: Path, name: str, side: int = 8) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(imagecodecs.png_encode(np.full((side, side, 3), 7, np.uint8)))


def test_labelled_tiles_are_found_in_folders(tmp_path: Path):
    for name in ("benign/1.png", "benign/2.png", "tumour/1.PNG"):
        tile(tmp_path, name)
    (tmp_path / "tumour" / "readme.txt").write_text("")
    found = find_labelled(str(tmp_path))
    assert list(found.labels) == ["benign", "benign", "tumour"]
    assert len(set(found.groups)) == 3
    assert found.read().shape == (3, 8, 8, 3)


def test_labelled_tiles_are_found_by_their_table(tmp_path: Path):
    for name in ("x/1.png", "x/2.png"):
        tile(tmp_path, name)
    (tmp_path / "labels.csv").write_text("path,label,group\nx/1.png,a,p1\nx/2.png,b,p1\n")
    found = find_labelled(str(tmp_path))
    assert list(found.labels) == ["a", "b"]
    assert list(found.groups) == ["p1", "p1"]
    assert found.read().max() == 7


def test_what_is_wrong_with_labelled_tiles_is_said(tmp_path: Path):
    with pytest.raises(RequestError, match=r"--probe: .* holds no labels.csv"):
        find_labelled(str(tmp_path))
    tile(tmp_path, "a/1.png")
    tile(tmp_path, "b/1.png", side=9)
    with pytest.raises(RequestError, match="different sizes, 8 x 8 and 9 x 9"):
        find_labelled(str(tmp_path)).read()
    (tmp_path / "b" / "1.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(RequestError, match=r"b/1.png"):
        find_labelled(str(tmp_path)).read()
    (tmp_path / "labels.csv").write_text("file,label\na/1.png,a\n")
    with pytest.raises(RequestError, match="path and label"):
        find_labelled(str(tmp_path))
