"""Labelled tiles as a cohort: a tile is a row, its group is what no split divides."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from pathray.clinical.cohort import ClinicalCohort
from pathray.errors import RequestError
from pathray.evaluation.folds import Fold
from pathray.evaluation.labelled import LabelledTiles
from pathray.evaluation.labels import Labels


def tile_cohort(tiles: LabelledTiles) -> ClinicalCohort:
    """A row a tile, under its URI; the group stands for the patient."""
    classes, values = np.unique(tiles.labels, return_inverse=True)
    labels = Labels(values.astype(np.int64), tuple(classes.tolist()))
    return ClinicalCohort(tiles.uris, tuple(tiles.groups.tolist()), labels)


def tile_folds(cohort: ClinicalCohort, folds: int, seed: int) -> list[Fold]:
    """Each group tested once, the next fold's groups steering; stratified by the tiles' labels.

    RequestError when a class has fewer groups than folds.
    """
    assert isinstance(cohort.target, Labels)
    groups, values = np.array(cohort.patient_ids), cohort.target.values
    for number, name in enumerate(cohort.target.classes):
        count = len(set(groups[values == number].tolist()))
        if count < folds:
            raise RequestError(
                f"--tiles: class {name!r} has {count} group(s), too few for {folds} folds: "
                "take fewer --folds"
            )
    if folds < 3:
        raise RequestError("--folds: tiles need 3 at least, to train, to steer and to test")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = [
        tuple(sorted(set(groups[test].tolist())))
        for _, test in splitter.split(np.zeros(len(values)), values, groups)
    ]
    everyone = set(groups.tolist())
    made = []
    for number, test in enumerate(parts):
        validation = parts[(number + 1) % folds]
        train = tuple(sorted(everyone - set(test) - set(validation)))
        made.append(Fold(str(number), 0, train, validation, test))
    return made
