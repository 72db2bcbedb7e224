"""`pathray submit`: a job on a cluster, through the Ray dashboard's job API."""

import hashlib
import importlib
import os

from pydantic import BaseModel, ConfigDict, Field

from jobs.flags import argv_of, parse
from pathray.errors import RequestError

HERE = ("submit", "estimate", "demo", "serve")
"""Jobs that are not for a cluster's job queue."""


class Flags(BaseModel):
    """Run a job on a cluster: pathray submit JOB --address URL -- the job's own flags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str = Field(description="the job", json_schema_extra={"positional": True})
    address: str | None = Field(
        None, description="the Ray dashboard, http://HOST:8265; RAY_AUTH_TOKEN holds its token"
    )
    env: str | None = Field(
        None, description="names of variables to take along from here, separated by commas"
    )
    image_code: bool = Field(
        False, description="run the code of the cluster's image instead of sending this one"
    )
    detach: bool = Field(False, description="return as soon as the job is taken")
    submission_id: str | None = Field(
        None, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", description="default: from job and flags"
    )
    render: bool = Field(False, description="print the job as a KubeRay RayJob and submit nothing")
    cluster: str = Field("pathray", description="the RayCluster that --render names")
    namespace: str = Field("pathray", description="the namespace that --render names")
    flags: tuple[str, ...] = Field((), json_schema_extra={"rest": True})


def run(flags: Flags) -> int:
    """Submit, follow, return the job's exit code; with --render print YAML and return 0."""
    argv = checked(flags.job, flags.flags)
    identifier = flags.submission_id or submission_id(flags.job, argv)
    if flags.render:
        from jobs.rayjob import render

        if flags.env:
            raise RequestError(
                "--env has no place in a manifest: put the variables into the cluster's ConfigMap "
                "or Secret"
            )
        print(render(flags.job, argv, identifier, flags.cluster, flags.namespace), end="")
        return 0
    if not (flags.address or "").startswith(("http://", "https://")):
        raise RequestError("--address is needed, as http://HOST:8265 (the Ray dashboard)")
    from jobs.submission import Submission, submit

    submission = Submission(
        job=flags.job,
        argv=argv,
        identifier=identifier,
        again=flags.submission_id is None,
        environment=named_environment(flags.env),
        image_code=flags.image_code,
    )
    return submit(str(flags.address), submission, flags.detach)


def checked(job: str, flags: tuple[str, ...]) -> list[str]:
    """The job's flags as its own model understands them, files of this machine read.

    RequestError where the job itself would refuse them.
    """
    from jobs.cli import JOBS

    known = [name for name in JOBS if name not in HERE]
    if job not in known:
        raise RequestError(f"{job!r} is not a job for a cluster; these are: {', '.join(known)}")
    model = importlib.import_module(f"jobs.{job}").Flags
    return argv_of(parse(model, flags, prog=f"pathray {job}"))


def submission_id(job: str, argv: list[str]) -> str:
    """The same for the same request, so that asking twice does not run it twice."""
    digest = hashlib.sha256("\0".join([job, *argv]).encode()).hexdigest()
    return f"pathray-{job}-{digest[:10]}"


def named_environment(names: str | None) -> dict[str, str]:
    """The variables of this process by name; RequestError for one that is not set."""

    wanted = [name.strip() for name in (names or "").split(",") if name.strip()]
    missing = [name for name in wanted if name not in os.environ]
    if missing:
        raise RequestError(f"--env: {missing[0]} is not set here")
    return {name: os.environ[name] for name in wanted}
