"""Virchow and Virchow2 (Vorontsov et al. 2024; Zimmermann et al. 2024): ViT-H/14 by DINOv2.

The embedding is class token and mean patch token side by side; Virchow2's four registers are
left out of the mean.
"""

from dataclasses import replace

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import IMAGENET_MEAN, IMAGENET_STD, EncoderSpec, HubWeights, add

_KWARGS = {
    "mlp_ratio": 5.3375,
    "mlp_layer": "SwiGLUPacked",
    "act_layer": "silu",
    "init_values": 1e-5,
}

VIRCHOW = add(
    EncoderSpec(
        name="virchow",
        builder=TimmModel("vit_huge_patch14_224", _KWARGS),
        weights=HubWeights("paige-ai/Virchow"),
        input_size=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        pooling="class_mean_patch",
        width=2560,
        mpp=0.5,
        licence="Apache-2.0",
        source="hf-hub:paige-ai/Virchow",
        gated=True,
        precision="fp16",
        parameters=631_229_184,
    )
)
add(
    replace(
        VIRCHOW,
        name="virchow2",
        builder=TimmModel("vit_huge_patch14_224", {**_KWARGS, "reg_tokens": 4}),
        weights=HubWeights("paige-ai/Virchow2"),
        licence="CC-BY-NC-ND-4.0",
        source="hf-hub:paige-ai/Virchow2",
        parameters=631_239_424,
    )
)
