"""`pathray estimate`: what limits, how long, how much."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli import main
from jobs.costs import (
    Estimate,
    Fleet,
    Machines,
    Node,
    Rates,
    estimate,
    fleet_within,
    reading_limit,
    stage_rates,
    store_limit,
    with_readers,
)
from jobs.estimate import SOURCES, Flags
from pathray.errors import RequestError

BENCHMARKS = Path(__file__).parents[2] / "BENCHMARKS.md"
RATES = Rates(read=100, encode=1000, tile_bytes=20_000, store=1e9)
MACHINES = Machines(cpu=Node(10, 0, 1.0), gpu=Node(5, 1, 4.0), startup_hours=0.5)

positive = st.floats(0.01, 1e6)
rates = st.builds(Rates, positive, positive, st.floats(1e3, 1e6), st.floats(1e6, 1e12))
machines = st.builds(
    Machines,
    cpu=st.builds(Node, st.integers(1, 256), st.just(0), positive),
    gpu=st.builds(Node, st.integers(1, 256), st.integers(1, 8), positive),
    startup_hours=st.floats(0, 1),
)


def test_the_slowest_stage_sets_the_pace() -> None:
    # One GPU node: 500 tiles/s read, 1,000 encoded, 50,000 from the store.
    one = estimate(1_800_000, Fleet(1), RATES, MACHINES)
    assert one == Estimate(Fleet(1), 500.0, "read", pytest.approx(1.5), pytest.approx(6.0))
    helped = estimate(1_800_000, Fleet(1, 1), RATES, MACHINES)
    assert (helped.rate, helped.bottleneck) == (1000.0, "encode")
    assert helped.hours == pytest.approx(1.0)
    assert helped.money == pytest.approx(5.0)


def test_the_bottleneck_moves_from_reading_to_encoding_to_the_store() -> None:
    fleets = [Fleet(1), Fleet(1, 1), Fleet(60, 60)]
    limits = [estimate(1e6, fleet, RATES, MACHINES).bottleneck for fleet in fleets]
    assert limits == ["read", "encode", "store"]
    assert store_limit(RATES, MACHINES) == 50
    assert reading_limit(RATES, MACHINES) == pytest.approx(0.5)
    assert reading_limit(replace(RATES, encode=400), MACHINES) == 0


def test_readers_are_added_until_they_are_not_the_bottleneck() -> None:
    assert with_readers(4, RATES, MACHINES) == Fleet(4, 2)
    assert with_readers(4, replace(RATES, read=1000), MACHINES) == Fleet(4, 0)


@given(rates, machines, st.integers(1, 500))
def test_with_its_readers_a_fleet_waits_for_gpus_or_the_store(
    rates: Rates, machines: Machines, gpu_nodes: int
) -> None:
    stages = stage_rates(with_readers(gpu_nodes, rates, machines), rates, machines)
    assert stages["read"] >= min(stages["encode"], stages["store"]) * (1 - 1e-6)


@given(rates, machines, st.integers(1, 100), st.integers(0, 100), st.floats(1, 1e12))
def test_more_nodes_are_never_slower(
    rates: Rates, machines: Machines, gpu_nodes: int, cpu_nodes: int, tiles: float
) -> None:
    hours = estimate(tiles, Fleet(gpu_nodes, cpu_nodes), rates, machines).hours
    assert estimate(tiles, Fleet(gpu_nodes + 1, cpu_nodes), rates, machines).hours <= hours
    assert estimate(tiles, Fleet(gpu_nodes, cpu_nodes + 1), rates, machines).hours <= hours


@given(rates, machines, st.floats(1e3, 1e10), st.floats(1.1, 1000))
def test_the_fleet_of_a_deadline_ends_in_time_and_one_node_less_does_not(
    rates: Rates, machines: Machines, tiles: float, hours: float
) -> None:
    try:
        fleet = fleet_within(tiles, hours, rates, machines)
    except RequestError:
        many = Fleet(10**12, 10**12)
        assert estimate(tiles, many, rates, machines).hours >= hours * (1 - 1e-6)
        return
    assert estimate(tiles, fleet, rates, machines).hours <= hours * (1 + 1e-6)
    if fleet.cpu_nodes:
        fewer = replace(fleet, cpu_nodes=fleet.cpu_nodes - 1)
        assert estimate(tiles, fewer, rates, machines).hours > hours * (1 - 1e-6)
    if fleet.gpu_nodes > 1:
        fewer = replace(fleet, gpu_nodes=fleet.gpu_nodes - 1)
        assert estimate(tiles, fewer, rates, machines).hours > hours * (1 - 1e-6)


def test_a_deadline_that_the_store_cannot_meet_is_refused_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["estimate", "--hours", "0.2"]) == 2
    assert "the store alone takes" in capsys.readouterr().err


def test_the_estimate_says_fleets_limits_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--slides", "1000", "--hours", "1", "--encode-rate", "9000"]) == 0
    told = capsys.readouterr().out
    assert "1,000 slides, 11,000,000 tiles, within 1 hours" in told
    assert sum(line.startswith("| **") for line in told.splitlines()) == 1
    assert "Reading limits a GPU node alone" in told
    assert "- `--encode-rate` 9,000: given" in told
    assert told.count(": measured") == 2
    assert all("`--" + name.replace("_", "-") in told for name in SOURCES)


def test_prices_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prices.yaml").write_text("gpu-node-price: 100\n")
    assert main(["estimate", "--config", str(tmp_path / "prices.yaml")]) == 0
    assert "`--gpu-node-price` 100: given" in capsys.readouterr().out


def test_the_measured_defaults_are_those_of_the_benchmarks() -> None:
    row = next(
        line.split("|")
        for line in BENCHMARKS.read_text().splitlines()
        if re.match(r"\| \*\*Pathray\*\*, by byte ranges \| 30 ms", line)
    )
    tiles_per_second, fetched_mb = float(row[3]), float(row[5].split()[0])
    kept = re.search(r"The same ([\d,]+) tissue tiles", BENCHMARKS.read_text())
    assert kept
    fields = Flags.model_fields
    assert fields["read_rate"].default == tiles_per_second
    tile_bytes = fetched_mb * 1e6 / int(kept[1].replace(",", ""))
    assert fields["tile_bytes"].default == pytest.approx(tile_bytes, rel=0.01)
