"""Foreign checkpoints: converted, they are the same networks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from golden_files import below, golden

from jobs.convert import ConvertFlags, run
from pathray.encoders import load_encoder, registry, resolve
from pathray.encoders.architecture import TimmModel
from pathray.encoders.conversion import Overrides, convert
from pathray.encoders.digest import digest_of
from pathray.encoders.inference import vit_architecture
from pathray.encoders.loading import model_with, random_model
from pathray.encoders.naming import to_timm
from pathray.errors import RequestError


@pytest.fixture
def beph_release(tmp_path: Path) -> str:
    tensors, _ = golden("beph_backbone_tiny")
    file = tmp_path / "beph.pth"
    torch.save({"state_dict": below(tensors, "checkpoint/"), "meta": {"epoch": 100}}, file)
    return str(file)


def test_a_converted_beph_checkpoint_gives_the_reference_features(
    beph_release: str, tmp_path: Path
) -> None:
    tensors, config = golden("beph_backbone_tiny")
    done = convert(beph_release, str(tmp_path / "beph"), format="beph")
    encoder = load_encoder(str(tmp_path / "beph"), precision="fp32")
    tiles = tensors["image_uint8"].permute(0, 2, 3, 1).contiguous()
    np.testing.assert_allclose(encoder(tiles), tensors["features"].numpy(), atol=1e-5)
    assert done.unused == ("mask_token",)
    assert encoder.spec.mean is not None
    np.testing.assert_allclose(np.array(encoder.spec.mean) * 255, config["rgb_mean_0_255"])
    assert (encoder.spec.name, encoder.mpp, encoder.input_size) == ("beph", 0.25, 64)
    assert done.digest == encoder.digest


def test_beph_in_bf16_stays_within_cosine_0_9999(beph_release: str, tmp_path: Path) -> None:
    tensors, _ = golden("beph_backbone_tiny")
    convert(beph_release, str(tmp_path / "beph"), format="beph")
    encoder = load_encoder(str(tmp_path / "beph"), precision="bf16")
    low = torch.from_numpy(encoder(tensors["image_uint8"].permute(0, 2, 3, 1).contiguous()))
    assert torch.cosine_similarity(low, tensors["features"]).min() > 0.9999


def test_the_registered_name_reads_the_release_itself(tmp_path: Path) -> None:
    """`--weights` with BEPH's own file, of the full size, in mmselfsup's names."""
    spec = registry.get("beph")
    state = random_model(spec, 2).state_dict()
    assert len([n for n in state if n.endswith("relative_position_bias_table")]) == 12
    release = {f"backbone.{name}": tensor for name, tensor in mmselfsup_names(state).items()}
    torch.save({"state_dict": release}, tmp_path / "release.pth")
    encoder = load_encoder("beph", weights=str(tmp_path / "release.pth"))
    assert encoder.digest == digest_of(state, spec)
    assert digest_of(state, registry.get("beph_published")) != encoder.digest


def mmselfsup_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    table = "relative_position_bias_table"
    result = {f"rel_pos_bias.{table}": state[f"blocks.0.attn.{table}"]}
    for name, tensor in state.items():
        if name.endswith(table):
            continue
        name = name.replace("patch_embed.proj", "patch_embed.projection")
        name = name.replace("blocks.", "layers.").replace(".norm", ".ln")
        name = name.replace("mlp.fc1", "ffn.layers.0.0").replace("mlp.fc2", "ffn.layers.1")
        result[name] = tensor
    return result


def test_a_converted_unilm_checkpoint_gives_the_reference_logits(tmp_path: Path) -> None:
    tensors, config = golden("beitv2_mim_tiny")
    parameters = below(tensors, "param/")
    torch.save({"model": parameters}, tmp_path / "mim.pth")
    done = convert(str(tmp_path / "mim.pth"), str(tmp_path / "mim"), format="unilm-beitv2")
    model, _ = model_with(done.spec, parameters, "golden")
    net: Any = model
    x = net.patch_embed(tensors["image"])
    masked = tensors["mask"].bool()
    x[masked] = parameters["mask_token"][0]
    x = torch.cat([net.cls_token.expand(len(x), -1, -1), x], dim=1)
    for block in net.blocks:
        x = block(x)
    tokens = net.norm(x)[:, 1:][masked]
    logits = tokens @ parameters["lm_head.weight"].T + parameters["lm_head.bias"]
    torch.testing.assert_close(logits, tensors["logits"], atol=1e-5, rtol=1e-5)
    assert resolve(str(tmp_path / "mim")).input_size == config["img_size"]
    assert {name.split(".")[0] for name in done.unused} == {
        "cls_pt_layers", "lm_head", "mask_token",
    }  # fmt: skip


def hf_model(kind: str) -> Any:
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    size |= {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    if kind == "vit":
        config = transformers.ViTConfig(**size, intermediate_size=128)
        return transformers.ViTModel(config, add_pooling_layer=False).eval()
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**size)).eval()
    config = transformers.Dinov2WithRegistersConfig(**size, use_swiglu_ffn=True)
    model = transformers.Dinov2WithRegistersModel(config).eval()
    torch.nn.init.normal_(model.embeddings.position_embeddings)
    return model


@pytest.mark.parametrize("kind", ["vit", "dinov2", "registers"])
def test_a_converted_transformers_checkpoint_gives_its_class_token(
    kind: str, tmp_path: Path
) -> None:
    model = hf_model(kind)
    model.save_pretrained(tmp_path / "hf")
    names = safetensors.torch.load_file(tmp_path / "hf/model.safetensors")
    assert any("attention.attention.query" in name for name in names), "released files' names"
    done = convert(
        str(tmp_path / "hf/model.safetensors"),
        str(tmp_path / "converted"),
        format="hf",
        overrides=Overrides(num_heads=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), mpp=0.5),
    )
    assert set(done.unused) <= {"mask_token"}
    encoder = load_encoder(str(tmp_path / "converted"), precision="fp32")
    tiles = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    images = torch.from_numpy(tiles).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        expected = model(pixel_values=images).last_hidden_state[:, 0]
    np.testing.assert_allclose(encoder(tiles), expected.numpy(), atol=2e-5)


def test_a_vit_trained_at_one_size_is_run_at_another(tmp_path: Path) -> None:
    model = hf_model("dinov2")
    model.save_pretrained(tmp_path / "hf")
    checkpoint, out = str(tmp_path / "hf/model.safetensors"), str(tmp_path / "converted")
    convert(checkpoint, out, format="hf", overrides=Overrides(num_heads=4, input_size=48))
    encoder = load_encoder(out, precision="fp32")
    assert encoder.input_size == 48
    tiles = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), np.uint8)
    assert encoder.patch_tokens(tiles).shape == (1, 6, 6, 64)


def test_a_relative_position_bias_fits_one_size(beph_release: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="fits one size only"):
        convert(
            beph_release, str(tmp_path / "x"), format="beph", overrides=Overrides(input_size=96)
        )


def test_both_generations_of_transformers_names_are_read() -> None:
    model = hf_model("vit")
    new = to_timm(model.state_dict())
    architecture = vit_architecture(new, num_heads=4, norm_eps=1e-12)
    spec = replace(registry.get("phikon"), builder=architecture, input_size=32)
    fresh = random_model(spec, 0)
    assert set(new) == set(fresh.state_dict())


@pytest.mark.parametrize(
    ("name", "kind"), [("phikon", "vit"), ("phikon_v2", "dinov2"), ("hibou_b", "registers")]
)
def test_registered_transformers_encoders_have_the_shapes_of_their_release(
    name: str, kind: str
) -> None:
    """The released networks, built by transformers on the meta device, fit ours by name."""
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        if kind == "vit":
            model = transformers.ViTModel(transformers.ViTConfig(), add_pooling_layer=False)
        elif kind == "dinov2":
            config = transformers.Dinov2Config(
                hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
                image_size=224, patch_size=16,
            )  # fmt: skip
            model = transformers.Dinov2Model(config)
        else:
            config = transformers.Dinov2WithRegistersConfig(
                image_size=224, patch_size=14, use_swiglu_ffn=True
            )
            model = transformers.Dinov2WithRegistersModel(config)
        ours = random_model(registry.get(name), 0).state_dict()
        theirs = to_timm(model.state_dict())
    theirs.pop("mask_token", None)
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in ours.items()}


def test_a_timm_checkpoint_is_converted_by_its_models_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kwargs = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    import timm

    model = timm.create_model("vit_tiny_patch16_224", num_classes=7, **kwargs)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "timm.safetensors")
    flags = ConvertFlags(
        checkpoint=str(tmp_path / "timm.safetensors"),
        format="timm",
        out=str(tmp_path / "mine"),
        model="vit_tiny_patch16_224",
        model_kwargs=json.dumps(kwargs),
        pooling="class_mean_patch",
        mean="0.7,0.5,0.6",
        mpp=0.5,
    )
    assert run(flags) == 0
    printed = capsys.readouterr().out
    assert "mine, 48 wide, 32 px" in printed
    assert "unused, no part of the encoder: head (2)" in printed
    spec = resolve(str(tmp_path / "mine"))
    assert (spec.name, spec.mean, spec.mpp, spec.width) == ("mine", (0.7, 0.5, 0.6), 0.5, 48)
    assert isinstance(spec.builder, TimmModel)


def test_a_checkpoint_of_another_size_is_converted_like_nothing(
    beph_release: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(RequestError, match="does not fit the encoder"):
        convert(beph_release, str(out), format="beph", like="beph")
    assert not out.exists()


@pytest.mark.parametrize(
    ("format_", "message"),
    [("hf", "is it of another --format"), ("timm", "needs the network: --model")],
)
def test_the_wrong_format_is_said_to_be_wrong(
    beph_release: str, tmp_path: Path, format_: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        convert(beph_release, str(tmp_path / "out"), format=format_)


def test_a_pickle_of_objects_is_refused_until_allowed(tmp_path: Path) -> None:
    tensors, _ = golden("beph_backbone_tiny")
    content = {"state_dict": below(tensors, "checkpoint/"), "optimizer": Path("anything")}
    file = str(tmp_path / "training.pth")
    torch.save(content, file)
    with pytest.raises(RequestError, match="--allow-pickle"):
        convert(file, str(tmp_path / "out"), format="beph")
    convert(file, str(tmp_path / "out"), format="beph", allow_pickle=True)
    assert resolve(str(tmp_path / "out")).width == 48


@pytest.mark.parametrize("flags", [{"mean": "0.5"}, {"std": "1,2,3"}, {"model_kwargs": "[1]"}])
def test_flags_of_the_wrong_form_are_refused(flags: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"must be three numbers|is no JSON object"):
        ConvertFlags(checkpoint="x", format="timm", out="y", **flags)  # type: ignore[arg-type]
