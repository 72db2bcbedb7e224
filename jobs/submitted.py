"""What `pathray submit` runs on the cluster: the command, in the environment sent with it."""

import json
import os
import sys
from pathlib import Path

from jobs.cli import main

ENVIRONMENT = ".pathray-environment.json"
"""Lies in the job's working directory. Ray would write `env_vars` into its logs; a file of the
package is seen only by those who can run code on the cluster."""


def run() -> int:
    """Take the environment that was sent, if any, and run the command."""
    sent = Path(ENVIRONMENT)
    if sent.exists():
        os.environ.update(json.loads(sent.read_text()))
    return main()


if __name__ == "__main__":
    sys.exit(run())
