"""Calls to other deployments, tried again when the replica they went to dies."""

import asyncio
import random
import time
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from pathray.errors import PathrayError
from serve.problem import busy

LOST = (ActorDiedError, ActorUnavailableError, NodeDiedError, ReplicaUnavailableError)
"""The replica is gone before it answered. All our calls may be made twice."""
PATIENCE_SECONDS = 60.0
"""How long another replica is looked for; a new one loads its weights meanwhile."""


async def call(method: DeploymentHandle, *arguments: Any) -> Any:
    """A deployment's answer, from another replica when one dies.

    A full queue is a 503 problem; a PathrayError of the other side is raised as itself.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await method.remote(*arguments)
        except LOST:
            if time.monotonic() > deadline:
                raise busy("a part of the service is restarting: try again", 5) from None
            await asyncio.sleep(random.uniform(0.1, 0.5))
        except BackPressureError as error:
            wait = max(1, round(error.retry_after_s or 2))
            raise busy("too many requests at once: try again", wait) from None
        except RayTaskError as error:
            raise _cause(error) from None


def call_patiently(method: DeploymentHandle, *arguments: Any) -> Any:
    """As `call`, from a job's thread: it waits for room instead of being turned away."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return method.remote(*arguments).result()
        except LOST:
            if time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.1, 0.5))
        except BackPressureError:
            deadline = time.monotonic() + PATIENCE_SECONDS
            time.sleep(random.uniform(0.2, 1.0))
        except RayTaskError as error:
            raise _cause(error) from None


def _cause(error: RayTaskError) -> BaseException:
    """What the user is to be told, where the other side said so; else the error itself."""
    return error.cause if isinstance(error.cause, PathrayError) else error
