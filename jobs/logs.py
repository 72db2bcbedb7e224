"""Structured logs: one JSON object a line on stderr where PATHRAY_LOG=json, else nothing.

A person reads the progress line and the summary; a log store reads these.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime

_LOG = logging.getLogger("pathray")
_LOG.addHandler(logging.NullHandler())


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_ray_ids(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def wanted() -> bool:
    """Whether logs are for a machine."""
    return os.environ.get("PATHRAY_LOG") == "json"


def configure() -> None:
    """Once a process: driver and workers."""
    if wanted() and not any(isinstance(h.formatter, _JsonLines) for h in _LOG.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonLines())
        _LOG.addHandler(handler)
        _LOG.setLevel(logging.INFO)
        _LOG.propagate = False


def log(event: str, failure: BaseException | None = None, **fields: object) -> None:
    """One event; with a failure it is a warning that carries the traceback."""
    level = logging.INFO if failure is None and not fields.get("error") else logging.WARNING
    _LOG.log(level, event, extra={"fields": fields}, exc_info=failure)


def _ray_ids() -> dict[str, object]:
    """Ray's job and node, by which these lines meet Ray's own."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return {}
    context = ray.get_runtime_context()
    return {"ray_job": context.get_job_id(), "ray_node": context.get_node_id()}
