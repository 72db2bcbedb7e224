"""A folder of tile shards as a cohort to embed."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pathray import outputs, storage
from pathray.cohort import Slide
from pathray.errors import PathrayError, RequestError
from pathray.metadata import read_metadata
from pathray.outputs import Status
from pathray.tilestore import parse_shard_name, shard_name


@dataclass(frozen=True)
class ShardStore:
    """What `pathray tile` has left in a folder.

    `slides` have all their shards; each has the URI of its first one. `incomplete` have not,
    or none at all because `tile` failed.
    """

    uri: str
    settings: dict[str, Any]
    slides: list[Slide]
    incomplete: list[Status]


def open_store(tiles: str) -> ShardStore:
    """The store behind `--tiles`; RequestError when it is none, or holds no shards."""
    uri = storage.absolute(tiles)
    try:
        settings = json.loads(storage.read_bytes(storage.join(uri, outputs.SETTINGS)))
        entries = storage.list_objects(uri, recursive=False)
    except FileNotFoundError as error:
        problem = f"{uri} holds no tile shards: make them with `pathray tile --out {tiles}`"
        raise RequestError(f"--tiles: {problem}") from error
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--tiles: {storage.reason(uri, error)}") from error
    if settings.get("kind") != "tiles":
        raise RequestError(f"--tiles: {uri} holds {settings.get('kind')}, not tile shards")
    pieces: dict[str, int] = {}
    for parsed in filter(None, (parse_shard_name(entry.name) for entry in entries)):
        pieces[parsed[0]] = pieces.get(parsed[0], 0) + 1
    if not pieces:
        raise RequestError(f"--tiles: {uri} holds no tile shards yet: run `pathray tile` first")
    return _store(uri, settings, pieces)


def _store(uri: str, settings: dict[str, Any], pieces: dict[str, int]) -> ShardStore:
    with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as pool:
        looked = list(pool.map(lambda of: _look(uri, *of), sorted(pieces.items())))
    slides = [slide for slide in looked if isinstance(slide, Slide)]
    incomplete = [status for status in looked if isinstance(status, Status)]
    for slide_id, status in sorted(outputs.read_statuses(uri).items()):
        if status.status == "failed" and slide_id not in pieces:
            problem = f"it could not be tiled: {status.error}"
            incomplete.append(
                Status(slide_id, status.patient_id, status.uri, "failed", error=problem)
            )
    return ShardStore(uri, settings, slides, incomplete)


def _look(uri: str, slide_id: str, found: int) -> Slide | Status:
    """The slide, when its first shard says that `found` are all of them."""
    first = storage.join(uri, shard_name(slide_id, 0))
    try:
        made = read_metadata(first).provenance
    except PathrayError as error:
        problem = str(error)
    except FileNotFoundError:
        problem = f"{found} of its tile shards are there and not the first: tile it again"
    except Exception as error:  # each store has its own exceptions for refusals
        problem = storage.reason(first, error)
    else:
        if made["pieces"] == found:
            return Slide(slide_id, first, made["patient_id"])
        problem = f"{found} of {made['pieces']} tile shards are there: tile it again"
    return Status(slide_id, None, first, "failed", error=problem)
