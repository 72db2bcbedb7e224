"""The log of a job on a cluster, as a person follows it."""

import json
import time


class JobLog:
    """Prints a log's lines once each, however it is cut into pieces and begun anew."""

    def __init__(self) -> None:
        self._received = 0
        self._unfinished = ""
        self.heard = 0.0
        """When something of the log last came, by the monotonic clock."""

    def take(self, position: int, text: str) -> None:
        """Print the lines that end in `text`, which begins at character `position` of the log."""
        self.heard = time.monotonic()
        new = text[max(0, self._received - position) :]
        self._received += len(new)
        *lines, self._unfinished = (self._unfinished + new).split("\n")
        for line in lines:
            _tell(line)

    def end(self, whole: str) -> None:
        """Print what is left, given the whole log of a job that has ended."""
        self.take(0, whole)
        if self._unfinished:
            _tell(self._unfinished)


def _tell(line: str) -> None:
    told = readable(line)
    if told is not None:
        print(told, flush=True)


def readable(line: str) -> str | None:
    """A line of the log; of structured ones the progress and the failures, else None."""
    if not line.startswith('{"time"'):
        return line
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if event.get("event") == "progress":
        return str(event["told"])
    return f"failed {event['slide_id']}: {event['error']}" if event.get("error") else None
