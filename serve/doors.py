"""What the application must know of the Serve it runs in."""

import os

import ray
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

from pathray.errors import RequestError
from serve.keys import is_loopback
from serve.settings import Access


def refuse_open_doors(access: Access) -> None:
    """RequestError where anybody could come in: no keys, and not on loopback alone."""
    if access.keys:
        return
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        raise RequestError("HAProxy and its replicas listen on all interfaces: configure `keys`")
    controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    host = ray.get(controller.get_http_config.remote()).host
    if not is_loopback(host or ""):
        raise RequestError(
            f"the service listens on {host} without keys: configure `keys` "
            "(python -m serve.keys NAME makes one), or http_options.host: 127.0.0.1"
        )


def metrics_address() -> str | None:
    """Where this node's Ray exports metrics."""
    me = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == me and node.get("MetricsExportPort"):
            return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    return None
