"""What `pathray predict --tiles` runs: encoders on the cluster, the model's heads here.

<out>/predictions.parquet   a row a tile
"""

from collections.abc import Sequence
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from jobs import embed
from jobs.cluster import connected
from jobs.encoding import Described, EncoderChoice, Pool, choose_encoder, choose_pool, describe
from jobs.flags import validate
from jobs.predict import OF_ENCODERS, Flags
from jobs.progress import SHOWN_FAILURES, Progress, clock
from jobs.tilefeatures import TileSize, tile_vectors
from jobs.tileprogress import Snapshot
from pathray import outputs, storage
from pathray.errors import RequestError
from pathray.evaluation.labelled import find_tiles
from pathray.modelregistry import is_registered
from pathray.tilemodel import TileModel, load_tile_model
from pathray.tileprediction import tile_predictions_parquet

PREDICTIONS = "predictions.parquet"


def predict_tiles(flags: Flags) -> int:
    """Predict; returns the exit code."""
    started, out = monotonic(), storage.absolute(flags.out)
    registered = is_registered(flags.model)
    model = load_tile_model(flags.model if registered else storage.absolute(flags.model))
    outputs.refuse_foreign(out)
    asked = _encoders(flags, model)
    tiles = find_tiles(storage.absolute(str(flags.tiles)))
    with connected(imports=("jobs.tilefeatures",)) as capacity:
        pool = choose_pool(asked[0], capacity)
        encoders = [_described(model, place, each, pool) for place, each in enumerate(asked)]
        outputs.put_settings(out, {"kind": "tile predictions", "model_digest": model.digest})
        told, failed = _told(model, tiles, encoders, pool)
    table = storage.join(out, PREDICTIONS)
    storage.put_bytes(table, tile_predictions_parquet(model.spec.classes, tiles, told, failed))
    done = f"{len(tiles) - len(failed):,} done, {len(failed):,} failed"
    print(f"predict: {len(tiles):,} tiles: {done}, {clock(monotonic() - started)}")
    for error in list(failed.values())[:SHOWN_FAILURES]:
        print(f"  failed  {error}")
    print(f"  table   {table}")
    return 1 if failed else 0


def _encoders(flags: Flags, model: TileModel) -> list[embed.Flags]:
    """How tiles are embedded: by the one frozen encoder, or by each of the model's own."""
    shared = {"slides": "tiles", "out": flags.out, "precision": model.spec.precision}
    own = model.encoder_uris()
    if own:
        if told := flags.model_fields_set & set(OF_ENCODERS):
            flag = "--" + min(told).replace("_", "-")
            raise RequestError(f"{flags.model} holds its own encoders: drop {flag}")
        return [validate(embed.Flags, shared | {"encoder": uri}) for uri in own]
    if flags.encoder is None:
        raise RequestError(
            f"--tiles needs --encoder: the one that the model was trained on, {model.spec.encoder}"
        )
    return [validate(embed.Flags, shared | {name: getattr(flags, name) for name in OF_ENCODERS})]


def _described(
    model: TileModel, place: int, flags: embed.Flags, pool: Pool
) -> tuple[EncoderChoice, Described]:
    """An encoder; RequestError, before a tile is read, where it is not the model's."""
    choice = choose_encoder(flags)
    described = describe(choice, pool)
    model.refuse_other(place, described.digest, f"--encoder {flags.encoder}")
    return choice, described


def _told(
    model: TileModel,
    tiles: Sequence[str],
    encoders: Sequence[tuple[EncoderChoice, Described]],
    pool: Pool,
) -> tuple[NDArray[np.float64], dict[str, str]]:
    """(K, N, C) of K heads, of all tiles that can be read; why the others cannot."""
    size = TileSize(model.spec.width, model.spec.height)
    state = Snapshot("tiles embedded", 0, len(tiles) * len(encoders), monotonic())
    rows = {tile: row for row, tile in enumerate(tiles)}
    told: list[NDArray[np.float64]] = []
    failed: dict[str, str] = {}
    with Progress("predict", lambda: state):
        for place, (choice, described) in enumerate(encoders):
            heads = model.heads_on(place)
            some = np.empty((len(heads), len(tiles), len(model.spec.classes)))
            for run in tile_vectors(tiles, size, choice, described, pool):
                found = [head.probabilities(run.vectors) for head in heads]
                some[:, [rows[uri] for uri in run.uris]] = found
                failed |= run.failed
                state.done += len(run.uris) + len(run.failed)
            told.append(some)
    # One encoder's pass may meet a failure of the store that another's did not.
    return np.concatenate(told)[:, [tile not in failed for tile in tiles]], failed
