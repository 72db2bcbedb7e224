"""StainNet (Li et al. 2025, arXiv:2512.10326): DINO on immunohistochemistry, special stains."""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import EncoderSpec, HubWeights, add

_HALF = (0.5, 0.5, 0.5)


def _add(name: str, repository: str, model: str, width: int) -> None:
    add(
        EncoderSpec(
            name=name,
            builder=TimmModel(model),
            weights=HubWeights(repository),
            input_size=224,
            mean=_HALF,
            std=_HALF,
            interpolation="bicubic",
            pooling="class",
            width=width,
            mpp=None,
            licence="CC-BY-NC-ND-4.0",
            source=f"hf-hub:{repository}",
            gated=False,
            precision=None,
        )
    )


_add("stainnet", "JWonderLand/StainNet", "vit_small_patch16_224", 384)
_add("stainnet_base", "JWonderLand/StainNet-Base", "vit_base_patch16_224", 768)
