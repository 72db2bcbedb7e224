"""Our own embeddings: one Parquet object a slide."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow.parquet as pq

from pathray import storage
from pathray.metadata import metadata_of
from pathray.mil.formats.bag import CHUNK, Made, OpenBag, Rows


@contextmanager
def open_parquet(uri: str) -> Iterator[OpenBag]:
    """The bag in an object of `pathray embed`; only its footer is read until chunks are."""
    with storage.open_for_reading(uri) as file:
        parquet = pq.ParquetFile(file)
        schema = parquet.schema_arrow
        metadata = metadata_of(schema)
        identity = metadata.identity
        made = Made(
            dim=schema.field("embedding").type.list_size,
            encoder_digest=identity.get("encoder_digest"),
            mpp=identity.get("mpp"),
            tile_size=identity.get("tile_size"),
            encoder=metadata.provenance.get("encoder"),
        )
        yield OpenBag(parquet.metadata.num_rows, made, True, _chunks(parquet, made.dim))


def _chunks(parquet: pq.ParquetFile, dim: int) -> Iterator[Rows]:
    for batch in parquet.iter_batches(CHUNK, columns=["x", "y", "embedding"]):
        flat = batch["embedding"].flatten().to_numpy(zero_copy_only=False)
        coordinates = np.stack([batch["x"].to_numpy(), batch["y"].to_numpy()], axis=1)
        yield Rows(flat.reshape(-1, dim), coordinates)
