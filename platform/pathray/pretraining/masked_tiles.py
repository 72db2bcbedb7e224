"""A picture of what an objective is shown."""

import numpy as np
import torch
from torch.nn import functional

from pathray.contact_sheet import draw_contact_sheet
from pathray.pretraining.objective import Views

TILES, COLUMNS = 16, 8
HIDDEN = 0.5
"""Grey of hidden patches."""


def draw_views(views: Views) -> bytes:
    """PNG of the first augmented tiles, hidden patches grey."""
    pixels = views.pixels[:TILES]
    if views.masks is not None:
        hidden = views.masks[:TILES, None].float()
        hidden = functional.interpolate(hidden, pixels.shape[-2:], mode="nearest")
        pixels = torch.where(hidden > 0, torch.full_like(pixels, HIDDEN), pixels)
    images = (pixels.permute(0, 2, 3, 1).cpu().numpy() * 255).round().astype(np.uint8)
    return draw_contact_sheet(list(images), COLUMNS, side=112)
