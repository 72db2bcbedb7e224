"""Time-dependent AUC: cumulative cases, dynamic controls, weighted against censoring."""

import numpy as np
from numpy.typing import NDArray

from pathray.ranking import weighted_auc
from pathray.survival.censoring import CensoringCurve
from pathray.survival.followup import FollowUp

Floats = NDArray[np.floating]


def auc_at(
    follow_up: FollowUp,
    risk: Floats,
    times: Floats,
    censoring: CensoringCurve,
    weights: Floats | None = None,
) -> NDArray[np.float64]:
    """AUC(t) (B, T): the chance that one who has died by t had a higher risk than one alive.

    risk (n,), higher dies sooner; times (T,); `censoring` of the training patients; weights
    (B, n) how often each patient counts, default once. A case (event at or before t) weighs
    1 / G(time-); all controls (followed beyond t) weigh the same. nan where either is missing.
    Source: Uno et al. 2007; Hung and Chiang 2010.
    """
    weights = np.ones((1, len(follow_up))) if weights is None else weights
    inverse = inverse_weights(follow_up, censoring)
    areas = [
        weighted_auc(
            risk,
            weights * (inverse * (follow_up.time <= t)),
            weights * (follow_up.time > t),
        )
        for t in times
    ]
    return np.stack(areas, axis=1) if areas else np.empty((len(weights), 0))


def inverse_weights(follow_up: FollowUp, censoring: CensoringCurve) -> NDArray[np.float64]:
    """1 / G(time-) (n,) for patients with an event, 0 for the censored.

    0 also where training follow-up had ended before: nothing is known of censoring there.
    """
    known = censoring.before(follow_up.time)
    seen = follow_up.event & (known > 0)
    return np.where(seen, 1 / np.where(seen, known, 1.0), 0.0)
