"""UNI and UNI2-h (Chen et al. 2024, Nature Medicine): ViT-L/16 and ViT-h/14 by DINOv2."""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import IMAGENET_MEAN, IMAGENET_STD, EncoderSpec, HubWeights, add

add(
    EncoderSpec(
        name="uni",
        builder=TimmModel("vit_large_patch16_224", {"init_values": 1e-5}),
        weights=HubWeights("MahmoodLab/uni"),
        input_size=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        pooling="class",
        width=1024,
        mpp=0.5,
        licence="CC-BY-NC-ND-4.0",
        source="hf-hub:MahmoodLab/uni",
        gated=True,
        precision=None,
        parameters=303_350_784,
    )
)
add(
    EncoderSpec(
        name="uni2",
        builder=TimmModel(
            "vit_giant_patch14_224",
            {
                "depth": 24,
                "num_heads": 24,
                "embed_dim": 1536,
                "mlp_ratio": 2.66667 * 2,
                "mlp_layer": "SwiGLUPacked",
                "act_layer": "silu",
                "init_values": 1e-5,
                "reg_tokens": 8,
                "no_embed_class": True,
            },
        ),
        weights=HubWeights("MahmoodLab/UNI2-h"),
        input_size=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        pooling="class",
        width=1536,
        mpp=0.5,
        licence="CC-BY-NC-ND-4.0",
        source="hf-hub:MahmoodLab/UNI2-h",
        gated=True,
        precision="bf16",
    )
)
