"""Section `quantiser`: a step of the tokenizer's codebook against the one-hot formulation."""

from tests.benchmarks.document import Table, at_least, megabytes, number
from tests.benchmarks.options import Options
from tests.benchmarks.process import worker


def section(options: Options) -> list[Table]:
    """One table."""
    plain, ours = (
        worker("quantise", way, options.tokens, options.rounds) for way in ("one_hot", "indexed")
    )
    rows = [
        [name, number(done["seconds"]), number(options.tokens / done["seconds"]), share, memory]
        for name, done, share, memory in (
            ("one-hot matrix", plain, "1.00×", megabytes(plain["bytes"])),
            (
                "**Pathray** `Codebook`",
                ours,
                f"{plain['seconds'] / ours['seconds']:.2f}×",
                megabytes(ours["bytes"]),
            ),
        )
    ]
    return [
        Table(
            "The tokenizer's codebook",
            f"Quantising {options.tokens:,} tokens with 8192 codes of 32, commitment backward, and "
            f"the moving average, on {ours['device']}; best round, each way in a process of its "
            "own. Memory is what the steps add.",
            ("", "seconds", "tokens/s", "speed", "memory"),
            rows,
            [
                "The one-hot matrix, the distances and the product with both grow with tokens "
                "x codes; counts and sums by index do not.",
                at_least("The codebook against one-hot", plain["seconds"] / ours["seconds"], 1),
            ],
        )
    ]
