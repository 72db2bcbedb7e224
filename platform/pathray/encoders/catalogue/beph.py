"""BEPH (Yang et al. 2024, bioRxiv 2024.05.16.594499): BEiT v2 on 11.77M TCGA tiles at 40x.

`beph` normalises as the pretraining did; `beph_published` as the authors did when they
extracted the features of their paper, with ImageNet's numbers.
"""

from dataclasses import replace

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import IMAGENET_MEAN, IMAGENET_STD, EncoderSpec, add

# Of the backbone's input in pretraining, RGB on a scale of 0..255.
MEAN_255 = (189.78929696867084, 128.24523960459152, 175.1775062798947)
STD_255 = (38.39398676131772, 45.25197621706431, 32.21307843285958)

BEPH = add(
    EncoderSpec(
        name="beph",
        builder=TimmModel("beitv2_base_patch16_224", {"init_values": 0.1}),
        weights=None,
        input_size=224,
        mean=(MEAN_255[0] / 255, MEAN_255[1] / 255, MEAN_255[2] / 255),
        std=(STD_255[0] / 255, STD_255[1] / 255, STD_255[2] / 255),
        interpolation="bicubic",
        pooling="mean_patch_layernorm",
        width=768,
        mpp=0.25,
        licence="GPL-3.0",
        source="https://github.com/Zhcyoung/BEPH",
        gated=False,
        precision="fp32",
    )
)
add(replace(BEPH, name="beph_published", mean=IMAGENET_MEAN, std=IMAGENET_STD))
