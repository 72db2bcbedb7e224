"""Phikon (Filiot et al. 2023; ViT-B/16 by iBOT) and Phikon-v2 (2024; ViT-L/16 by DINOv2)."""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import IMAGENET_MEAN, IMAGENET_STD, EncoderSpec, HubWeights, add

add(
    EncoderSpec(
        name="phikon",
        # transformers' ViT normalises with a smaller epsilon than timm's.
        builder=TimmModel("vit_base_patch16_224", {"norm_eps": 1e-12}),
        weights=HubWeights("owkin/phikon"),
        input_size=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bilinear",
        pooling="class",
        width=768,
        mpp=0.5,
        licence="Owkin non-commercial",
        source="hf-hub:owkin/phikon",
        gated=False,
        precision="fp32",
    )
)
add(
    EncoderSpec(
        name="phikon_v2",
        builder=TimmModel(
            "vit_large_patch14_dinov2", {"img_size": 224, "patch_size": 16, "init_values": 1e-5}
        ),
        weights=HubWeights("owkin/phikon-v2"),
        input_size=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        pooling="class",
        width=1024,
        mpp=0.5,
        licence="Owkin non-commercial",
        source="hf-hub:owkin/phikon-v2",
        gated=None,
        precision="fp32",
    )
)
