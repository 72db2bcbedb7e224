"""Counting the attempts at a piece, because a piece that kills its process never reports it.

Ray runs a task again for as long as its worker dies. The ledger is told before each piece
and after it; a piece that was begun three times and never ended condemns its slide, and the
cohort goes on.
"""

from typing import Any

from pathray.errors import SlideError

MAX_ATTEMPTS = 3


class _Counts:
    """The ledger's actor."""

    def __init__(self) -> None:
        self._begun: dict[str, list[str]] = {}
        self._condemned: dict[str, str] = {}

    def begin(self, slide_id: str, step: str, node: str) -> str | None:
        """Note an attempt; a reason when there must be none."""
        if slide_id in self._condemned:
            return self._condemned[slide_id]
        attempts = self._begun.setdefault(f"{slide_id} {step}", [])
        if len(attempts) >= MAX_ATTEMPTS:
            import ray

            # An attempt that ended with its whole node says nothing about the slide.
            alive = {n["NodeID"] for n in ray.nodes() if n["Alive"]}
            attempts[:] = [begun_on for begun_on in attempts if begun_on in alive]
        if len(attempts) >= MAX_ATTEMPTS:
            return self.condemn(
                slide_id,
                f"its process was killed {MAX_ATTEMPTS} times during {step} "
                "(a crash in a codec, or out of memory)",
            )
        attempts.append(node)
        return None

    def end(self, slide_id: str, step: str) -> None:
        self._begun.pop(f"{slide_id} {step}", None)

    def condemn(self, slide_id: str, reason: str) -> str:
        return self._condemned.setdefault(slide_id, reason)


class Ledger:
    """A handle that stages carry; lives on the driver's node, which the job cannot outlive."""

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        actor: Any = ray.remote(_Counts)
        self._actor = actor.options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here
        ).remote()

    def begin(self, slide_id: str, step: str) -> None:
        """Say that a step begins; SlideError when the slide is condemned."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        reason = ray.get(self._actor.begin.remote(slide_id, step, node))
        if reason:
            raise SlideError(reason)

    def end(self, slide_id: str, step: str) -> None:
        """Say that a step came to its end, well or not."""
        import ray

        ray.get(self._actor.end.remote(slide_id, step))

    def condemn(self, slide_id: str, reason: str) -> None:
        """Spare the rest of a slide that has failed."""
        import ray

        ray.get(self._actor.condemn.remote(slide_id, reason))
