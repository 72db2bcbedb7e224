"""Cox's partial likelihood as a loss."""

import torch
from torch import Tensor


def cox_loss(risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Mean negative log partial likelihood, ties by Breslow.

        -(1/n) sum over events i of (risk_i - log sum over j with t_j >= t_i of exp risk_j)

    risk (n,) log-hazards, higher dies sooner; time (n,); event (n,), 1 = seen, 0 = censored.
    n counts all patients, the censored too, so that batches of different censoring weigh
    alike. A batch in which nobody has an event gives zero, with zero gradients. Half
    precision is computed in float32. Source: Cox 1972; Breslow 1974.
    """
    risk = risk.float() if risk.dtype in (torch.float16, torch.bfloat16) else risk
    order = torch.argsort(time, descending=True, stable=True)
    risk, time, event = risk[order], time[order], event[order].to(risk.dtype)
    # Patients of one time share the risk set that ends with the last of them.
    last = torch.searchsorted(-time, -time, right=True) - 1
    at_risk = torch.logcumsumexp(risk, dim=0)[last]
    return (event * (at_risk - risk)).sum() / max(len(risk), 1)
