"""Which files `--embeddings` means: one a slide, all of one kind."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pathray import storage
from pathray.errors import PathrayError, RequestError
from pathray.mil.formats import OPENERS
from pathray.storage import Entry

CLAM_FOLDERS = ("h5_files", "pt_files")
"""Where CLAM's feature extraction puts its files; the first has coordinates too."""


@dataclass(frozen=True)
class BagFile:
    """The embeddings of one slide: the object's name without its suffix is the slide_id."""

    slide_id: str
    entry: Entry

    @property
    def suffix(self) -> str:
        return "." + self.entry.name.rsplit(".", 1)[-1]


def find_bag_files(embeddings: str) -> list[BagFile]:
    """The bags below a folder or prefix, sorted by slide_id.

    Takes what `pathray embed` wrote, and folders of `.h5` or `.pt` as CLAM and TRIDENT write
    them. Raises RequestError when there are none, or of several kinds.
    """
    uri = storage.absolute(embeddings)
    try:
        found = _bags(storage.list_objects(uri, recursive=False))
        for name in CLAM_FOLDERS:
            found = found or _bags(storage.list_objects(storage.join(uri, name), recursive=False))
        if not found:
            missing = "holds no embeddings" if storage.is_prefix(uri) else "does not exist"
            known = " ".join(sorted(OPENERS))
            raise RequestError(f"{embeddings} {missing} (one file a slide: {known})")
    except PathrayError as error:
        raise RequestError(f"--embeddings: {error}") from error
    except Exception as error:  # each store has its own exceptions for refusals
        raise RequestError(f"--embeddings: {storage.reason(uri, error)}") from error
    _refuse_mixture(found, embeddings)
    return sorted(found, key=lambda file: file.slide_id)


def _bags(entries: Iterable[Entry]) -> list[BagFile]:
    files = [BagFile(storage.stem(entry.uri), entry) for entry in entries]
    return [file for file in files if file.suffix in OPENERS and file.entry.name[0] not in "._"]


def _refuse_mixture(files: Sequence[BagFile], embeddings: str) -> None:
    kinds = Counter(file.suffix for file in files)
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        raise RequestError(f"--embeddings: {embeddings} mixes kinds of files ({counts}): keep one")
