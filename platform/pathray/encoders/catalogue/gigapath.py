"""Prov-GigaPath's tile encoder (Xu et al. 2024, Nature): ViT-g by DINOv2.

Its published preprocessing takes tiles of 256 px and crops the central 224.
"""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import IMAGENET_MEAN, IMAGENET_STD, EncoderSpec, HubWeights, add

add(
    EncoderSpec(
        name="gigapath",
        builder=TimmModel(
            "vit_giant_patch14_dinov2",
            {
                "img_size": 224,
                "patch_size": 16,
                "depth": 40,
                "num_heads": 24,
                "embed_dim": 1536,
                "init_values": 1e-5,
            },
        ),
        weights=HubWeights("prov-gigapath/prov-gigapath", ("pytorch_model.bin",)),
        input_size=224,
        resize_to=256,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        pooling="class",
        width=1536,
        mpp=0.5,
        licence="Apache-2.0",
        source="hf-hub:prov-gigapath/prov-gigapath",
        gated=True,
        precision="fp16",
    )
)
