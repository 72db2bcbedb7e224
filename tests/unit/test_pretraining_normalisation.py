"""The colours of a data set, from a sample of its tiles."""

from pathlib import Path

import numpy as np
import pytest
from written_shards import numbered_tile, write_shard, write_slides

from pathray.errors import RequestError
from pathray.pretraining.normalisation import sampled_normalisation
from pathray.pretraining.rowgroups import find_row_groups
from pathray.tilestore import PNG, encode_image


def test_a_sample_of_everything_is_numpys_mean_and_deviation(tmp_path: Path) -> None:
    count = write_slides(tmp_path / "tiles", [30, 50, 7])
    found = sampled_normalisation(find_row_groups(str(tmp_path / "tiles")), 0)
    pixels = np.stack([numbered_tile(i) for i in range(count)]) / 255
    assert found.tiles == count
    np.testing.assert_allclose(found.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std((0, 1, 2)), rtol=1e-12)


def test_a_sample_is_seeded_and_spread_over_row_groups(tmp_path: Path) -> None:
    write_slides(tmp_path / "tiles", [90] * 6)
    groups = find_row_groups(str(tmp_path / "tiles"))
    found = sampled_normalisation(groups, 0, tiles=100)
    assert found.tiles == 100
    assert found == sampled_normalisation(groups, 0, tiles=100)
    assert found != sampled_normalisation(groups, 1, tiles=100)
    assert sampled_normalisation(groups, 0).tiles == 6 * 64


def test_tiles_that_cannot_be_decoded_are_not_counted(tmp_path: Path) -> None:
    sound = encode_image(numbered_tile(1), PNG)
    write_shard(tmp_path, "a", [sound, b"x", sound])
    found = sampled_normalisation(find_row_groups(str(tmp_path)), 0)
    assert found.tiles == 2
    write_shard(tmp_path, "a", [b"x"])
    with pytest.raises(RequestError, match="none of 1 sampled row groups can be decoded"):
        sampled_normalisation(find_row_groups(str(tmp_path)), 0)
