"""How the authors of each objective train it: the defaults of a run."""

from dataclasses import dataclass

from pathray.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`lr` is the peak learning rate at a batch of `batch` tiles, in proportion at others;
    it warms up for `warmup_epochs` of `epochs` and ends at `final_lr`. `clip` is the norm
    that gradients are clipped to, `crop_scale` the share of a tile that a crop covers,
    `colour` the strength of colour jitter. `masks`: views come with block masks.
    """

    batch: int
    lr: float
    final_lr: float
    epochs: int
    warmup_epochs: int
    betas: tuple[float, float]
    weight_decay: float
    clip: float | None
    crop_scale: tuple[float, float]
    colour: float
    masks: bool


recipes: Registry[Recipe] = Registry("pretraining objective")
# VQ-KD as BEiT v2 (arXiv 2208.06366) trains it: 5e-5 for 128 images.
recipes.add(
    "vqkd",
    Recipe(
        batch=512,
        lr=2e-4,
        final_lr=1e-5,
        epochs=100,
        warmup_epochs=10,
        betas=(0.9, 0.99),
        weight_decay=1e-4,
        clip=None,
        crop_scale=(0.08, 1.0),
        colour=0.0,
        masks=False,
    ),
)
# BEiT v2's schedule of 300 epochs, with the batch of BEPH (4 x 256 tiles for the same rate).
recipes.add(
    "beitv2",
    Recipe(
        batch=1024,
        lr=1.5e-3,
        final_lr=1e-5,
        epochs=300,
        warmup_epochs=10,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        clip=3.0,
        crop_scale=(0.2, 1.0),
        colour=0.4,
        masks=True,
    ),
)
