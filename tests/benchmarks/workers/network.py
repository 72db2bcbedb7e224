"""The bare network: `network.py ENCODER TILES BATCH THREADS`, on pixels ready in memory."""

import sys

import torch

from pathray.encoders import resolve
from pathray.encoders.loading import random_model
from pathray.encoders.network import Output
from pathray.encoders.pooling import poolings
from pathray.encoders.precision import resolve_precision, running
from tests.benchmarks.workers.timing import best, tell


def main(name: str, tiles: int, batch: int, threads: int) -> None:
    """Same precision, threads and batch size as the job's encoder; nothing is read or cut."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(threads)
    spec = resolve(name)
    precision = resolve_precision("auto", device)
    model, pool = random_model(spec, 0).to(device), poolings.get(spec.pooling)
    images = torch.randn(batch, 3, spec.input_size, spec.input_size, device=device)
    batches = -(-tiles // batch)

    def forward(times: int) -> None:
        with torch.inference_mode(), running(precision, device):
            for _ in range(times):
                pool(Output(model, images))
        if device.type == "cuda":
            torch.cuda.synchronize()

    forward(1)
    tell(
        seconds=best(lambda: forward(batches), 1),
        tiles=batches * batch,
        precision=precision,
        device=device.type,
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
