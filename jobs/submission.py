"""A job at the Ray dashboard: taken once, followed, its outcome the command's own."""

import asyncio
import logging
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.codepackage import put_package
from jobs.joblog import JobLog
from pathray import __version__
from pathray.errors import PathrayError, RequestError, one_line

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

LOST_SECONDS = 300.0
"""How long the dashboard may be away, for a restart of the head, before following ends."""
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Submission:
    """A validated request. `again`: a finished run of the same identifier makes way for a new."""

    job: str
    argv: list[str]
    identifier: str
    again: bool
    environment: Mapping[str, str]
    image_code: bool

    def entrypoint(self) -> str:
        return shlex.join(["python", "-m", "jobs.submitted", self.job, *self.argv])


def submit(address: str, submission: Submission, detach: bool) -> int:
    """Submit or find the job, follow it unless detached; returns its exit code."""
    client = _connect(address)
    identifier, running = _place(client, submission)
    if running:
        print(f"pathray: {identifier} is there already", file=sys.stderr)
    else:
        _send(client, identifier, submission)
        print(f"pathray: submitted {identifier}", file=sys.stderr)
    if detach:
        print(identifier)
        return 0
    try:
        return _exit_code(_follow(client, identifier))
    except KeyboardInterrupt:
        print(
            f"\npathray: detached; {identifier} goes on. The same command comes back to it; "
            f"`ray job stop --address {address} {identifier}` ends it",
            file=sys.stderr,
        )
        return 130


def _connect(address: str) -> "JobSubmissionClient":
    # A token that is given is meant to be used; Ray would want a second variable for it.
    if os.environ.get("RAY_AUTH_TOKEN"):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.job_submission import JobSubmissionClient

    # Ray's modules set levels of their own for what they tell beside us.
    logging.disable(logging.INFO)
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # requests' errors, Ray's own, refusals of the token
        raise RequestError(
            f"cannot use the Ray dashboard {address}: {one_line(error, 200)}; check --address and, "
            "for a cluster with a token, RAY_AUTH_TOKEN"
        ) from error


def _place(client: "JobSubmissionClient", submission: Submission) -> tuple[str, bool]:
    """The identifier to use, and whether the cluster has a run of it to come back to."""
    base = submission.identifier
    runs = {
        job.submission_id: job
        for job in client.list_jobs()
        if job.submission_id and _attempt(job.submission_id, base)
    }
    if not runs:
        return base, False
    latest = max(runs, key=lambda name: _attempt(name, base))
    if not submission.again:
        return base, base in runs
    if not runs[latest].status.is_terminal():
        return latest, True
    return f"{base}-{_attempt(latest, base) + 1}", False


def _attempt(identifier: str, base: str) -> int:
    """1 for the base itself, n for `base-n`, 0 for others."""
    if identifier == base:
        return 1
    number = identifier.removeprefix(base + "-")
    return int(number) if number != identifier and number.isdecimal() else 0


def _send(client: "JobSubmissionClient", identifier: str, submission: Submission) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runtime: dict[str, Any] = {}
        if submission.environment or not submission.image_code:
            put_package(Path(folder), not submission.image_code, submission.environment)
            runtime["working_dir"] = folder
        try:
            client.submit_job(
                entrypoint=submission.entrypoint(),
                submission_id=identifier,
                runtime_env=runtime,
                metadata={"job": submission.job, "pathray": __version__},
            )
        except Exception as error:
            # Two of the same at once: the dashboard takes one, and this is the other.
            if not any(job.submission_id == identifier for job in client.list_jobs()):
                raise PathrayError(f"the cluster refused the job: {one_line(error)}") from error


def _follow(client: "JobSubmissionClient", identifier: str) -> "JobDetails":
    """Print the job's log as it grows until the job has ended."""
    log = JobLog()
    lost_since: float | None = None
    while True:
        try:
            asyncio.run(_tail(client, identifier, log))
            details = client.get_job_info(identifier)
            lost_since = None
            if details.status.is_terminal():
                log.end(client.get_job_logs(identifier))
                return details
        except Exception as error:  # the dashboard or the way to it is away
            if lost_since is None or log.heard > lost_since:
                lost_since = time.monotonic()
                print("pathray: the dashboard is away; trying again", file=sys.stderr)
            if time.monotonic() - lost_since > LOST_SECONDS:
                raise PathrayError(
                    f"lost the cluster: {one_line(error, 200)}; {identifier} may go on, and the "
                    "same command comes back to it"
                ) from error
        time.sleep(RETRY_SECONDS)


async def _tail(client: "JobSubmissionClient", identifier: str, log: JobLog) -> None:
    position = 0
    async for text in client.tail_job_logs(identifier):
        log.take(position, text)
        position += len(text)


def _exit_code(details: "JobDetails") -> int:
    status = details.status.value
    if status == "SUCCEEDED":
        return 0
    code = details.driver_exit_code
    if status == "FAILED" and code in (1, 2):
        return int(code)
    print(f"pathray: {status.lower()}: {' '.join((details.message or '').split())}"[:400],
          file=sys.stderr)  # fmt: skip
    return 1
