"""What workers say while they work, until the driver asks for it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.actor import ActorHandle


class Mailbox:
    """The actor that holds it."""

    def __init__(self) -> None:
        self._events: list[Any] = []

    def put(self, event: Any) -> None:
        self._events.append(event)

    def take(self) -> list[Any]:
        """All that was put since the last time, in order."""
        events, self._events = self._events, []
        return events


def open_mailbox() -> "ActorHandle[Any]":
    """On the driver's own node: it is lost only when the driver is."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
