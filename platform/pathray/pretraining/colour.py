"""Random changes of colour, for a whole batch at once: brightness and the like, and stain.

Pixels are float32 (B, 3, H, W) RGB in 0..1 and stay there.
"""

import math

import torch

from pathray.pretraining.randomness import uniform

LUMA = (0.2989, 0.587, 0.114)
"""Grey of RGB, as torchvision has it."""
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density in R, G, B of haematoxylin, eosin and DAB (Ruifrok & Johnston 2001)."""


def jitter_colour(
    pixels: torch.Tensor, seed: int, step: int, index: torch.Tensor, strength: float
) -> torch.Tensor:
    """Brightness, contrast and saturation by factors in 1 ± strength, in random order.

    As torchvision's ColorJitter(strength, strength, strength): each is a blend of the image
    with black, with its mean grey, or with its own grey, and is kept to 0..1.
    """
    if not strength:
        return pixels
    draws = uniform(seed, step, index, "colour", 4)
    orders = torch.tensor(ORDERS, device=index.device)[(draws[:, 3] * len(ORDERS)).long()]
    lowest = max(0.0, 1 - strength)
    factors = lowest + (1 + strength - lowest) * draws[:, :3]
    luma = torch.tensor(LUMA, device=index.device).expand(len(pixels), 1, 3)
    for kind in orders.unbind(1):
        factor = factors.gather(1, kind[:, None]).view(-1, 1, 1, 1)
        kind = kind.view(-1, 1, 1, 1)
        grey = torch.bmm(luma, pixels.flatten(2)).view_as(pixels[:, :1])
        other = (kind == 1) * grey.mean((2, 3), keepdim=True) + (kind == 2) * grey
        pixels = torch.lerp(other.expand_as(pixels), pixels, factor).clamp_(0, 1)
    return pixels


def jitter_stain(
    pixels: torch.Tensor, seed: int, step: int, index: torch.Tensor, strength: float
) -> torch.Tensor:
    """The amount c of each stain becomes a * c + b, a in 1 ± strength, b in ± strength.

    Colour deconvolution (Ruifrok & Johnston 2001) with the perturbation of Tellez et al.
    (IEEE TMI 2018), who call 0.05 light and 0.2 strong. Amounts are of optical density to
    base 10; a grey level of 0 has the density log10(256), so that nothing is infinite and
    strength 0 changes nothing.
    """
    if not strength:
        return pixels
    draws = 2 * uniform(seed, step, index, "stain", 6) - 1
    stains = torch.tensor(STAINS, dtype=torch.float64)
    apart, together = (
        matrix.to(pixels.device, torch.float32) for matrix in (torch.linalg.inv(stains), stains)
    )
    # Densities are rows: d -> (d apart * a + b) together, one affine map a sample.
    change = apart @ ((1 + strength * draws[:, :3, None]) * together)
    shift = strength * draws[:, 3:] @ together
    density = -torch.log10((255 * pixels + 1) / 256)
    changed = torch.baddbmm(shift[:, :, None], change.transpose(1, 2), density.flatten(2))
    light = torch.exp(changed.view_as(pixels) * -math.log(10))
    return ((256 * light - 1) / 255).clamp_(0, 1)
