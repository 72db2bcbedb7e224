"""H-optimus-0 and H-optimus-1 (Saillard et al. 2024): ViT-g/14 with registers by DINOv2."""

from dataclasses import replace

from pathray.encoders.architecture import TimmModel
from pathray.encoders.spec import EncoderSpec, HubWeights, add

HOPTIMUS0 = add(
    EncoderSpec(
        name="hoptimus0",
        builder=TimmModel("vit_giant_patch14_reg4_dinov2", {"img_size": 224, "init_values": 1e-5}),
        weights=HubWeights("bioptimus/H-optimus-0"),
        input_size=224,
        mean=(0.707223, 0.578729, 0.703617),
        std=(0.211883, 0.230117, 0.177517),
        interpolation="bicubic",
        pooling="class",
        width=1536,
        mpp=0.5,
        licence="Apache-2.0",
        source="hf-hub:bioptimus/H-optimus-0",
        gated=True,
        precision="fp16",
        parameters=1_134_774_272,
    )
)
add(
    replace(
        HOPTIMUS0,
        name="hoptimus1",
        weights=HubWeights("bioptimus/H-optimus-1"),
        licence="CC-BY-NC-ND-4.0",
        source="hf-hub:bioptimus/H-optimus-1",
    )
)
