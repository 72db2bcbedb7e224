"""Tiles a second of an encoder, preprocessing included, against a bare `model(x)` loop.

    python tests/benchmarks/bench_encoder.py --encoder timm/vit_small_patch16_224 --batch 16

The bare loop runs the same network under plain autocast on a batch that is already
normalised and on the device. Both run in turns. On a CPU the ratio is of CPU seconds, which
other processes disturb little; tiles a second are by the clock.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from pathray.encoders import load_encoder, resolve
from pathray.encoders.loading import random_model
from pathray.encoders.network import Output
from pathray.encoders.pooling import poolings
from pathray.encoders.precision import running


def main() -> None:
    """Measure and print one line a round, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="timm/vit_small_patch16_224")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default=None)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=2, help="batches a round")
    options = parser.parse_args()

    encoder = load_encoder(
        options.encoder, random_init=True, precision=options.precision, device=options.device
    )
    spec = resolve(options.encoder)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    side = spec.tile_size
    tiles = np.random.default_rng(0).integers(0, 256, (options.batch, side, side, 3), np.uint8)
    images = torch.randn(options.batch, 3, spec.input_size, spec.input_size, device=device)
    model = random_model(spec, 0).to(device)
    pool = poolings.get(spec.pooling)

    def bare() -> None:
        with torch.inference_mode(), running(encoder.precision, device):
            pool(Output(model, images))
        if device.type == "cuda":
            torch.cuda.synchronize()

    ratios, rates = [], []
    for _ in range(options.rounds):
        ours = _seconds(lambda: encoder(tiles), options.batches)
        theirs = _seconds(bare, options.batches)
        used = 0 if device.type == "cuda" else 1
        ratios.append(theirs[used] / ours[used])
        rates.append(options.batch * options.batches / ours[0])
        print(f"{rates[-1]:8.1f} tiles/s, {100 * ratios[-1]:.1f}% of the bare loop")
    print(
        f"{options.encoder} {encoder.precision} on {device}, batch {options.batch}: "
        f"median {statistics.median(rates):.1f} tiles/s, "
        f"{100 * statistics.median(ratios):.1f}% of the bare loop"
    )


def _seconds(call: Callable[[], object], times: int) -> tuple[float, float]:
    """Seconds by the clock and of CPU time."""
    call()
    start, used = time.perf_counter(), time.process_time()
    for _ in range(times):
        call()
    return time.perf_counter() - start, time.process_time() - used


if __name__ == "__main__":
    main()
