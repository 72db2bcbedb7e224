"""What an earlier run has left: finished slides, pieces of unfinished ones."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from jobs.items import SlideWork
from pathray import storage
from pathray.cohort import Slide
from pathray.errors import PathrayError, one_line
from pathray.outputs import Status
from pathray.slides.companions import source_of
from pathray.storage import Source


@dataclass(frozen=True)
class Found:
    """The cohort split by what is left to do."""

    done: list[Status] = field(default_factory=list)
    failed: list[Status] = field(default_factory=list)
    todo: list[SlideWork] = field(default_factory=list)


class Results(Protocol):
    """One kind of output: what is there of a slide, and how a slide is completed."""

    def identity(self, slide: Slide, source: Source) -> dict[str, Any]:
        """The identity that the slide's objects must have."""
        ...

    def look_up(self, work: SlideWork, identity: dict[str, Any]) -> Status | SlideWork:
        """The outcome of a finished slide, or the work with the pieces that are there.

        SlideError when what is there was made from another version of the slide.
        """
        ...

    def complete(self, status: Status, pieces: int) -> Status:
        """Called when all pieces of a slide are put; publishes and returns its outcome.

        Idempotent. `status` is `done` or `empty`, with the counts of the pieces' reports.
        """
        ...


def find_work(cohort: Sequence[Slide], results: Results) -> Found:
    """Look at every slide's source and results; many at a time, a footer each at most."""
    found = Found()

    def look(slide: Slide) -> Status | SlideWork:
        try:
            source = source_of(slide.uri)
            identity = results.identity(slide, source)
            return results.look_up(SlideWork(slide, source, identity=identity), identity)
        except PathrayError as error:
            reason = one_line(error)
        except Exception as error:  # each store has its own exceptions for refusals
            reason = storage.reason(slide.uri, error)
        return Status(slide.slide_id, slide.patient_id, slide.uri, "failed", error=reason)

    with ThreadPoolExecutor(storage.PARALLEL_REQUESTS) as pool:
        for outcome in pool.map(look, cohort):
            if isinstance(outcome, SlideWork):
                found.todo.append(outcome)
            else:
                (found.failed if outcome.status == "failed" else found.done).append(outcome)
    return found
