"""How far a job over labelled tiles is."""

from dataclasses import dataclass
from time import monotonic

from jobs.progress import clock


@dataclass
class Snapshot:
    """What is being done, and of how many."""

    what: str = "starting"
    done: int = 0
    of: int = 0
    started: float = 0.0

    def line(self, job: str) -> str:
        """The run in one line."""
        if not self.of:
            return f"{job}: {self.what}"
        parts = [f"{self.done:,}/{self.of:,} {self.what}"]
        if self.done:
            rate = self.done / max(monotonic() - self.started, 1e-9)
            parts.append(f"{clock((self.of - self.done) / rate)} to go")
        return f"{job}: " + " · ".join(parts)
