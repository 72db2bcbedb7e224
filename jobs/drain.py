"""What a preempted pod runs before it ends: `python -m jobs.drain --seconds 90`.

Ray gives the node no new work and lets what runs there come to its end; the node leaves when it
is idle, or at the deadline. Without it a piece that runs is lost with the node and done again.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Drain the node of this machine from the cluster at RAY_ADDRESS; 0 when it has left."""
    parser = argparse.ArgumentParser(prog="python -m jobs.drain", description=__doc__)
    parser.add_argument("--seconds", type=int, required=True, help="until the machine is gone")
    parser.add_argument("--ip", default=os.environ.get("POD_IP"), help="default: POD_IP")
    flags = parser.parse_args(argv)
    return 0 if drain(os.environ["RAY_ADDRESS"], flags.ip, flags.seconds) else 1


def drain(address: str, ip: str, seconds: int) -> bool:
    """Whether the node of `ip` left within `seconds`."""
    # What `ray drain-node` calls; that command starts from a node's id, which a pod does not know.
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    gcs = GcsClient(address=address)
    node_id = _node_of(gcs, ip)
    if node_id is None:
        return True
    deadline = time.time() + seconds
    accepted, reason = gcs.drain_node(
        node_id,
        DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
        "the machine is taken away",
        int(deadline * 1000),
    )
    if not accepted:
        print(f"the node is not drained: {reason}", file=sys.stderr)
        return False
    while time.time() < deadline:
        if _node_of(gcs, ip) is None:
            return True
        time.sleep(0.5)
    return False


def _node_of(gcs: Any, ip: str) -> str | None:
    """The id of the living node at this address."""
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    for node_id, node in gcs.get_all_node_info().items():
        if node.node_manager_address == ip and node.state == GcsNodeInfo.GcsNodeState.ALIVE:
            return str(node_id.hex())
    return None


if __name__ == "__main__":
    sys.exit(main())
