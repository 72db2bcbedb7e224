"""GPFM (Ma et al. 2024, arXiv:2407.18449): ViT-L/14 by unified knowledge distillation."""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import IMAGENET_MEAN, IMAGENET_STD, EncoderSpec, HubWeights, add

add(
    EncoderSpec(
        name="gpfm",
        builder=TimmModel("vit_large_patch14_dinov2", {"img_size": 224, "init_values": 1e-5}),
        weights=HubWeights("majiabo/GPFM", ("GPFM.pth",)),
        input_size=224,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        pooling="class",
        width=1024,
        mpp=None,
        licence="CC-BY-NC-ND",
        source="hf-hub:majiabo/GPFM",
        gated=False,
        precision="fp32",
        parameters=303_227_904,
    )
)
