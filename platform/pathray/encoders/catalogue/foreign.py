"""Encoders whose networks only their authors' code builds: listed, so that nobody searches."""

from pathray.encoders.architecture import ForeignCode
from pathray.encoders.spec import EncoderSpec, add


def _add(name: str, width: int, licence: str | None, source: str, what: str) -> None:
    add(
        EncoderSpec(
            name=name,
            builder=ForeignCode(
                f"{what} comes with its authors' code ({source}), which is no part of pathray; "
                f"wrap it in a Python file and say --encoder FILE.py:NAME (docs/encoders.md)"
            ),
            weights=None,
            input_size=224,
            mean=None,
            std=None,
            interpolation="bicubic",
            pooling="model",
            width=width,
            mpp=None,
            licence=licence,
            source=source,
            gated=None,
            precision=None,
        )
    )


_add("conch", 512, "CC-BY-NC-ND-4.0", "hf-hub:MahmoodLab/CONCH", "its vision-language tower")
_add("conch_v15", 768, "CC-BY-NC-ND-4.0", "hf-hub:MahmoodLab/conchv1_5", "its image tower")
_add("keep", 768, "MIT", "hf-hub:Astaxanthin/KEEP", "its vision-language tower")
_add("musk", 1024, "CC-BY-NC-ND-4.0", "hf-hub:xiangjx/musk", "its BEiT-3 tower")
_add("ctranspath", 768, None, "https://github.com/Xiyue-Wang/TransPath", "its Swin-conv hybrid")
