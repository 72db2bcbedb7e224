"""`pathray estimate`: nodes, hours and money for a cohort, and where the bottleneck moves."""

from pydantic import BaseModel, ConfigDict, Field

from jobs.costs import (
    Fleet,
    Machines,
    Node,
    Rates,
    estimate,
    fleet_within,
    reading_limit,
    store_limit,
    with_readers,
)

MEASURED = {
    "read_rate": "measured: BENCHMARKS.md, from an object store, 30 ms latency, one process",
    "tile_bytes": "measured: BENCHMARKS.md, from an object store, bytes fetched a kept tile",
}
"""Defaults that were measured, and where."""
ASSUMED = {
    "tiles_per_slide": "assumed: tissue of a resection at 40x; tile a sample of yours",
    "encode_rate": "assumed: a ViT-B, 35 GFLOP a tile, at 40% of the 121 bf16 TFLOP/s of an L4",
    "store_gbps": "assumed",
    "cpus_per_cpu_node": "assumed: AWS m7i.4xlarge",
    "cpus_per_gpu_node": "assumed: AWS g6.2xlarge",
    "gpus_per_gpu_node": "assumed: AWS g6.2xlarge",
    "cpu_node_price": "assumed: m7i.4xlarge on demand, us-east-1, list price in dollars",
    "gpu_node_price": "assumed: g6.2xlarge on demand, us-east-1, list price in dollars",
    "startup_minutes": "assumed: machine, image and encoder",
}
"""Defaults that nobody measured: give your own."""
SOURCES = MEASURED | ASSUMED


def _number(name: str, default: float, what: str) -> float:
    value: float = Field(
        default, gt=0, allow_inf_nan=False, description=f"{what} ({SOURCES[name]})"
    )
    return value


def _count(name: str, default: int, what: str) -> int:
    value: int = Field(default, gt=0, description=f"{what} ({SOURCES[name]})")
    return value


class Flags(BaseModel):
    """Nodes, hours and money to embed a cohort; rates and prices also from --config FILE."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slides: int = Field(11_760, gt=0, description="slides: 11,760 is TCGA's diagnostic set")
    tiles_per_slide: float = _number("tiles_per_slide", 11_000, "tiles of a slide, on average")
    hours: float = Field(24.0, gt=0, allow_inf_nan=False, description="when it should be done")
    read_rate: float = _number("read_rate", 332, "tiles/s that one CPU reads, planning included")
    encode_rate: float = _number("encode_rate", 1_380, "tiles/s that one GPU encodes")
    tile_bytes: float = _number("tile_bytes", 18_300, "bytes that a tile costs at the store")
    store_gbps: float = _number("store_gbps", 25, "Gbit/s of the store to all nodes together")
    cpus_per_cpu_node: int = _count("cpus_per_cpu_node", 16, "CPUs of a CPU node")
    cpus_per_gpu_node: int = _count("cpus_per_gpu_node", 8, "CPUs of a GPU node")
    gpus_per_gpu_node: int = _count("gpus_per_gpu_node", 1, "GPUs of a GPU node")
    cpu_node_price: float = _number("cpu_node_price", 0.8064, "price of a CPU node an hour")
    gpu_node_price: float = _number("gpu_node_price", 0.9776, "price of a GPU node an hour")
    startup_minutes: float = _number("startup_minutes", 10, "until a new node works")


def run(flags: Flags) -> int:
    """Print the estimate as Markdown; exit code 0."""
    tiles = flags.slides * flags.tiles_per_slide
    rates, machines = _rates(flags), _machines(flags)
    wanted = fleet_within(tiles, flags.hours, rates, machines)
    print(f"{flags.slides:,} slides, {tiles:,.0f} tiles, within {flags.hours:g} hours\n")
    _print_fleets(tiles, wanted, rates, machines)
    print()
    _print_bottlenecks(rates, machines)
    _print_sources(flags)
    return 0


def _rates(flags: Flags) -> Rates:
    return Rates(flags.read_rate, flags.encode_rate, flags.tile_bytes, flags.store_gbps * 1e9 / 8)


def _machines(flags: Flags) -> Machines:
    return Machines(
        cpu=Node(flags.cpus_per_cpu_node, 0, flags.cpu_node_price),
        gpu=Node(flags.cpus_per_gpu_node, flags.gpus_per_gpu_node, flags.gpu_node_price),
        startup_hours=flags.startup_minutes / 60,
    )


def _print_fleets(tiles: float, wanted: Fleet, rates: Rates, machines: Machines) -> None:
    """Doubling fleets, the one that ends in time in bold."""
    print("| GPU nodes | CPU nodes | tiles/s | hours | money | bottleneck |")
    print("| ---: | ---: | ---: | ---: | ---: | --- |")
    sizes = {2**i for i in range(store_limit(rates, machines).bit_length() + 1)}
    fleets = {with_readers(size, rates, machines) for size in sizes} | {wanted}
    for fleet in sorted(fleets, key=lambda fleet: (fleet.gpu_nodes, fleet.cpu_nodes)):
        row = estimate(tiles, fleet, rates, machines)
        mark = "**" if fleet == wanted else ""
        cells = [
            f"{fleet.gpu_nodes:,}",
            f"{fleet.cpu_nodes:,}",
            f"{row.rate:,.0f}",
            f"{row.hours:,.1f}",
            f"{row.money:,.0f}",
            row.bottleneck,
        ]
        print("| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells) + " |")


def _print_bottlenecks(rates: Rates, machines: Machines) -> None:
    """Where the bottleneck moves as nodes are added."""
    readers, limit = reading_limit(rates, machines), store_limit(rates, machines)
    if readers:
        print(f"- Reading limits a GPU node alone: it wants {readers:.2g} CPU nodes beside it.")
    else:
        print("- Encoding limits at first: a GPU node's own CPUs read more than it encodes.")
    print(
        f"- From {limit:,} GPU nodes on the store limits: more nodes cost more and end no sooner."
    )
    print("- Stages are taken to scale with their nodes; that was not measured on many.")


def _print_sources(flags: Flags) -> None:
    """Each number with where it comes from."""
    for name, source in SOURCES.items():
        told = "given" if name in flags.model_fields_set else source
        print(f"- `--{name.replace('_', '-')}` {getattr(flags, name):,g}: {told}")
