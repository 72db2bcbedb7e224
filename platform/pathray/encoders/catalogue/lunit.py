"""Lunit's ViT-S/8 by DINO (Kang et al. 2023, CVPR)."""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import EncoderSpec, HubWeights, add

add(
    EncoderSpec(
        name="lunit_s8",
        builder=TimmModel("vit_small_patch8_224"),
        weights=HubWeights("1aurent/vit_small_patch8_224.lunit_dino"),
        input_size=224,
        mean=(0.70323, 0.53606, 0.66097),
        std=(0.21717, 0.26081, 0.20723),
        interpolation="bicubic",
        pooling="class",
        width=384,
        mpp=0.5,
        licence="Lunit non-commercial",
        source="hf-hub:1aurent/vit_small_patch8_224.lunit_dino",
        gated=False,
        precision="fp32",
    )
)
