"""Which worker does which job, without a coordinator that could die.

A worker takes a job by putting a lease and renews it with every beat. A lease that has not
changed for `STALE_SECONDS`, by the observer's own clock, belongs to a dead worker: any other
takes the job over and goes on from the pieces that are there. Two that take one at the same
moment find out when they read the lease again; should that fail, both make the same result.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from serve.results import Job, Lease, Results

BEAT_SECONDS = 3.0
STALE_SECONDS = 15.0
SETTLE_SECONDS = 0.3
"""Between putting a lease and reading whether it is still one's own."""
MOST_ATTEMPTS = 3
"""Workers that may die of one slide before it is given up."""


class Leasing:
    """One worker's view of all leases."""

    def __init__(
        self, results: Results, worker: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._results, self.worker, self._clock = results, worker, clock
        self._seen: dict[str, tuple[Lease, float]] = {}

    def take(self) -> tuple[Job, Lease] | None:
        """The oldest job that nobody works on, now this worker's; None where there is none."""
        waiting = self._results.waiting()
        self._seen = {id: seen for id, seen in self._seen.items() if id in waiting}
        for id in waiting:
            held = self._results.lease(id)
            if held and not self._stale(id, held):
                continue
            mine = Lease(self.worker, (held.attempt if held else 0) + 1)
            self._results.put_lease(id, mine)
            time.sleep(SETTLE_SECONDS)
            job = self._results.job(id)
            if job and self._results.lease(id) == mine:
                return job, mine
        return None

    def renew(self, id: str, lease: Lease) -> Lease | None:
        """The lease with its next beat, put; None when another worker has taken the job."""
        held = self._results.lease(id)
        if held is None or held.worker != self.worker:
            return None
        renewed = replace(lease, beat=lease.beat + 1)
        self._results.put_lease(id, renewed)
        return renewed

    def _stale(self, id: str, held: Lease) -> bool:
        lease, since = self._seen.get(id, (None, 0.0))
        if lease != held:
            self._seen[id] = (held, self._clock())
            return False
        return self._clock() - since > STALE_SECONDS
