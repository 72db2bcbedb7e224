"""Encoders of natural images: the baselines of the field."""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderSpec,
    Interpolation,
    TimmWeights,
    add,
)


def _add(
    name: str,
    builder: TimmModel,
    pooling: str,
    width: int,
    licence: str,
    interpolation: Interpolation = "bicubic",
) -> None:
    add(
        EncoderSpec(
            name=name,
            builder=builder,
            weights=TimmWeights(),
            input_size=224,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            interpolation=interpolation,
            pooling=pooling,
            width=width,
            mpp=None,
            licence=licence,
            source=f"timm/{builder.model}",
            gated=False,
            precision=None,
        )
    )


# CLAM (Lu et al. 2021) takes the third stage, 1024 wide.
_add("resnet50", TimmModel("resnet50.tv_in1k"), "stage3_mean", 1024, "BSD-3-Clause", "bilinear")
_add(
    "beitv2_base",
    TimmModel("beitv2_base_patch16_224.in1k_ft_in22k"),
    "mean_patch",
    768,
    "Apache-2.0",
)

for _size, _width in {"small": 384, "base": 768, "large": 1024, "giant": 1536}.items():
    _add(
        f"dinov2_{_size}",
        TimmModel(f"vit_{_size}_patch14_dinov2.lvd142m", {"img_size": 224}),
        "class",
        _width,
        "Apache-2.0",
    )

for _size, _width in {"small": 384, "base": 768, "large": 1024}.items():
    _add(
        f"dinov3_{_size}",
        TimmModel(f"vit_{_size}_patch16_dinov3.lvd1689m", {"img_size": 224}),
        "class",
        _width,
        "DINOv3 License",
    )
