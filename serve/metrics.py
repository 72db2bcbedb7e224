"""What Prometheus sees of the endpoints beside what Ray Serve exports itself.

Serve has requests by route, method and status (`ray_serve_num_http_requests_total`; those turned
away are 503), their milliseconds (`ray_serve_http_request_latency_ms`), queues and replicas.
"""

from ray.serve.metrics import Counter

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "pathray_tiles_embedded": ("tiles embedded online", ()),
    "pathray_batch_room": ("tiles that the batches of these had room for", ()),
    "pathray_slide_predictions": ("slide predictions that ended: done or failed", ("outcome",)),
}


def counter(name: str) -> Counter:
    """One of the above, for a replica to count on."""
    description, tags = COUNTERS[name]
    return Counter(name, description, tag_keys=tags)
