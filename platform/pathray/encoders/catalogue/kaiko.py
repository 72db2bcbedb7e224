"""kaiko.ai's encoders (Aben et al. 2024, arXiv:2404.15217): ViTs by DINO and DINOv2 on TCGA.

They were trained on several magnifications at once. The ViT-L/14 was built at 518 px; its
position embedding is interpolated to the tile's grid.
"""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import EncoderSpec, HubWeights, add

_HALF = (0.5, 0.5, 0.5)


def _add(name: str, model: str, width: int, img_size: int = 224) -> None:
    repository = f"1aurent/{model}.kaiko_ai_towards_large_pathology_fms"
    timm_name = "vit_large_patch14_reg4_dinov2" if "reg4" in model else model
    add(
        EncoderSpec(
            name=name,
            builder=TimmModel(timm_name, {"img_size": img_size, "dynamic_img_size": True}),
            weights=HubWeights(repository),
            input_size=224,
            mean=_HALF,
            std=_HALF,
            interpolation="bicubic",
            pooling="class",
            width=width,
            mpp=None,
            licence=None,
            source=f"hf-hub:{repository}",
            gated=False,
            precision=None,
        )
    )


_add("kaiko_s16", "vit_small_patch16_224", 384)
_add("kaiko_s8", "vit_small_patch8_224", 384)
_add("kaiko_b16", "vit_base_patch16_224", 768)
_add("kaiko_b8", "vit_base_patch8_224", 768)
_add("kaiko_l14", "vit_large_patch14_reg4_224", 1024, img_size=518)
