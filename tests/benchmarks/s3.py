"""Section `s3`: a slide in an object store, near and far."""

from dataclasses import dataclass
from typing import Any

from pathray.slides.tiff import TiffReader
from tests.benchmarks import tiles
from tests.benchmarks.document import Table, at_most, megabytes, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import worker
from tests.benchmarks.sourcetiles import compressed_bytes, needed
from tests.benchmarks.store import SlowNetwork, served, variables

WAYS = {"**Pathray**, by byte ranges": "auto", "spool whole + OpenSlide": "openslide"}

COLUMNS = (
    *("", "latency", "tiles/s, all", "tiles/s, after planning"),
    *("fetched", "of the needed tiles", "of the slide"),
)


@dataclass(frozen=True)
class Sizes:
    """Bytes of the slide, and of the source tiles under the tiles that are read."""

    slide: int
    needed: int


def section(options: Options) -> list[Table]:
    """One table."""
    bucket = options.scratch / "store" / "bucket"
    bucket.mkdir(parents=True)
    (bucket / options.slide.name).symlink_to(options.slide.resolve())
    sizes = _sizes(options)
    rows, delivered = [], {}
    with served(bucket.parent) as port:
        for latency in (0.0, options.latency_ms):
            for name, backend in WAYS.items():
                done = _measure(options, port, latency, backend)
                delivered[backend, latency] = done["delivered"]
                rows.append(_row(name, latency, done, sizes))
    ours = delivered["auto", options.latency_ms] / sizes.needed
    return [
        Table(
            "From an object store",
            f"`rclone serve s3` on this machine; one process opens the slide, finds tissue and "
            f"reads its tissue tiles, piece by piece as the jobs do. The slide is "
            f"{megabytes(sizes.slide)}, the source tiles that are needed "
            f"{megabytes(sizes.needed)}. A proxy, there in all rows, adds the latency: half of it "
            "to every chunk in each direction, all of it once to a new connection; it does not "
            "limit the bandwidth. Bytes are what reached the "
            "client, tissue thumbnail and HTTP headers included.",
            COLUMNS,
            rows,
            [
                "The server and the proxy share the cores with the reader, and the network is as "
                "fast as memory: it flatters spooling, which fetches the whole slide, whatever "
                "part of it is tissue.",
                at_most("Bytes fetched against the source tiles needed", ours, 1.15),
            ],
        )
    ]


def _sizes(options: Options) -> Sizes:
    plan = tiles.plan_of(options.slide, tiles.tissue_tiling())
    reader = TiffReader.open(str(options.slide))
    numbers = needed(reader, 0, tiles.corners(plan, options.tiles), tiles.SIDE)
    count = compressed_bytes(reader, 0, numbers)
    reader.close()
    return Sizes(options.slide.stat().st_size, count)


def _measure(options: Options, port: int, latency: float, backend: str) -> Any:
    """A proxy is there without latency too, so that all rows pay for it and are counted alike."""
    cache = options.scratch / f"cache-{backend}-{latency}"
    network = SlowNetwork(port, latency)
    try:
        uri = f"s3://bucket/{options.slide.name}"
        settings = variables(network.port)
        done = worker("remote", backend, uri, cache, options.tiles, **settings)
    finally:
        network.close()
    return done | {"delivered": network.delivered}


def _row(name: str, latency: float, done: Any, sizes: Sizes) -> list[str]:
    return [
        name,
        f"{latency:g} ms",
        number(done["tiles"] / done["seconds"]),
        number(done["tiles"] / (done["seconds"] - done["planned"])),
        megabytes(done["delivered"]),
        f"{done['delivered'] / sizes.needed:.2f}×",
        f"{done['delivered'] / sizes.slide:.2f}×",
    ]
