"""Hibou-B and Hibou-L (Nechaev et al. 2024, arXiv:2406.05074): DINOv2 with registers.

Their pooler is the class token after the final norm. The feed-forward is SwiGLU with DINOv2's
hidden widths, 2048 and 2736, of which timm's ratio counts both halves.
"""

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import EncoderSpec, HubWeights, add


def _add(name: str, repository: str, model: str, width: int, hidden: int) -> None:
    kwargs = {
        "img_size": 224,
        "mlp_layer": "SwiGLUPacked",
        "act_layer": "silu",
        # timm truncates ratio * width; the half guards against a sum just below.
        "mlp_ratio": (2 * hidden + 0.5) / width,
        "init_values": 1e-5,
    }
    add(
        EncoderSpec(
            name=name,
            builder=TimmModel(model, kwargs),
            weights=HubWeights(repository),
            input_size=224,
            mean=(0.7068, 0.5755, 0.722),
            std=(0.195, 0.2316, 0.1816),
            interpolation="bicubic",
            pooling="class",
            width=width,
            mpp=0.5,
            licence="Apache-2.0",
            source=f"hf-hub:{repository}",
            gated=True,
            precision="fp16",
        )
    )


_add("hibou_b", "histai/hibou-b", "vit_base_patch14_reg4_dinov2", 768, 2048)
_add("hibou_l", "histai/hibou-L", "vit_large_patch14_reg4_dinov2", 1024, 2736)
