"""The `pathray` command: finds the job, parses its flags, runs it, returns its exit code.

0: all done. 1: something failed and is listed. 2: the request was wrong.
"""

import importlib
import sys
from collections.abc import Sequence

from jobs import logs
from pathray import __version__
from pathray.errors import PathrayError, RequestError

JOBS = {
    "tile": "cut slides into Parquet tile shards",
    "embed": "embed slides or tile shards, one Parquet object a slide",
    "pretrain": "learn a tile encoder from tile shards",
    "finetune": "train and judge slide models on embeddings and a clinical table",
    "predict": "apply a slide model to embeddings or slides",
    "convert": "turn a released checkpoint into an encoder directory",
    "encoders": "list the tile encoders that can be asked for by name",
    "serve": "answer over HTTP: embeddings, predictions, heatmaps",
    "submit": "run a job on a cluster through its Ray dashboard",
    "estimate": "nodes, hours and money for a cohort",
    "demo": "draw a small synthetic cohort and run everything on it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pathray <job> [flags]`; each job is a module with `Flags` and `run`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"pathray {__version__}")
        return 0
    logs.configure()
    try:
        return _run(arguments[0], arguments[1:])
    except RequestError as error:
        print(f"pathray: {error}", file=sys.stderr)
        return 2
    except PathrayError as error:
        print(f"pathray: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pathray: interrupted; the same command resumes", file=sys.stderr)
        return 130


def _run(job: str, arguments: list[str]) -> int:
    if job not in JOBS:
        raise RequestError(f"unknown job {job!r}; jobs: {', '.join(JOBS)}")
    # Imported here and not above, so that one job's --help does not pay for another's.
    from jobs.flags import parse

    module = importlib.import_module(f"jobs.{job}")
    code: int = module.run(parse(module.Flags, arguments, prog=f"pathray {job}"))
    return code


def _usage() -> str:
    lines = [f"  {name:<10} {what}" for name, what in JOBS.items()]
    return "\n".join(
        ["usage: pathray JOB [flags]", "", "jobs:", *lines, "", "pathray JOB --help for its flags"]
    )


if __name__ == "__main__":
    sys.exit(main())
