"""What a cohort costs: nodes, hours and money from stage rates and prices, and what limits.

Embedding is three stages that run at once: the object store gives bytes, CPUs turn them into
tiles, GPUs turn tiles into vectors. The slowest sets the pace. Everything here is arithmetic.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from pathray.errors import RequestError

Stage = Literal["encode", "read", "store"]
SECONDS = 3600.0


@dataclass(frozen=True)
class Rates:
    """Tiles/s that one CPU reads and one GPU encodes; bytes a tile, bytes/s of the store."""

    read: float
    encode: float
    tile_bytes: float
    store: float


@dataclass(frozen=True)
class Node:
    """A machine type: its CPUs, its GPUs, its price an hour."""

    cpus: int
    gpus: int
    price: float


@dataclass(frozen=True)
class Machines:
    """The two machine types of the cluster, and the hours until a node works."""

    cpu: Node
    gpu: Node
    startup_hours: float = 0.0


@dataclass(frozen=True)
class Fleet:
    """How many nodes of each type."""

    gpu_nodes: int
    cpu_nodes: int = 0


@dataclass(frozen=True)
class Estimate:
    """What a fleet makes of a cohort. `rate` is in tiles/s, `money` in the prices' currency."""

    fleet: Fleet
    rate: float
    bottleneck: Stage
    hours: float
    money: float


def stage_rates(fleet: Fleet, rates: Rates, machines: Machines) -> dict[Stage, float]:
    """Tiles/s that each stage could do on its own. The CPUs of GPU nodes read too."""
    cpus = fleet.gpu_nodes * machines.gpu.cpus + fleet.cpu_nodes * machines.cpu.cpus
    return {
        "encode": fleet.gpu_nodes * machines.gpu.gpus * rates.encode,
        "read": cpus * rates.read,
        "store": rates.store / rates.tile_bytes,
    }


def estimate(tiles: float, fleet: Fleet, rates: Rates, machines: Machines) -> Estimate:
    """Hours and money of `tiles` on a fleet, and the stage that limits it."""
    stages = stage_rates(fleet, rates, machines)
    bottleneck = min(stages, key=lambda stage: stages[stage])
    hours = machines.startup_hours + tiles / stages[bottleneck] / SECONDS
    price = fleet.gpu_nodes * machines.gpu.price + fleet.cpu_nodes * machines.cpu.price
    return Estimate(fleet, stages[bottleneck], bottleneck, hours, hours * price)


def with_readers(gpu_nodes: int, rates: Rates, machines: Machines) -> Fleet:
    """These GPU nodes with as many CPU nodes as keep them, or the store, busy."""
    alone = stage_rates(Fleet(gpu_nodes), rates, machines)
    missing = min(alone["encode"], alone["store"]) - alone["read"]
    return Fleet(gpu_nodes, _at_least(missing / (machines.cpu.cpus * rates.read)))


def fleet_within(tiles: float, hours: float, rates: Rates, machines: Machines) -> Fleet:
    """The fewest nodes that end in time; RequestError when no number of nodes would."""
    pace = rates.store / rates.tile_bytes
    least = machines.startup_hours + tiles / pace / SECONDS
    if hours <= machines.startup_hours or hours < least:
        raise RequestError(
            f"--hours {hours:g} is too short: the store alone takes {least:.1f} hours, however "
            "many nodes there are (--store-gbps)"
        )
    needed = tiles / ((hours - machines.startup_hours) * SECONDS)
    gpu_nodes = max(1, _at_least(needed / (machines.gpu.gpus * rates.encode)))
    missing = needed - gpu_nodes * machines.gpu.cpus * rates.read
    return Fleet(gpu_nodes, _at_least(missing / (machines.cpu.cpus * rates.read)))


def store_limit(rates: Rates, machines: Machines) -> int:
    """The number of GPU nodes from which on the store is the bottleneck."""
    return _at_least(rates.store / rates.tile_bytes / (machines.gpu.gpus * rates.encode))


def reading_limit(rates: Rates, machines: Machines) -> float:
    """CPU nodes that each GPU node needs beside its own CPUs; 0 where these suffice."""
    missing = machines.gpu.gpus * rates.encode - machines.gpu.cpus * rates.read
    return max(0.0, missing / (machines.cpu.cpus * rates.read))


def _at_least(quotient: float) -> int:
    # 3.0000000001 nodes are rounding, not a fourth node.
    return max(0, ceil(quotient - 1e-9))
