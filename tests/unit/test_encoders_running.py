"""A loaded encoder: preprocessing, pooling, precision, repeatability."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pathray.encoders import EncoderSpec, load_encoder
from pathray.encoders.architecture import TimmModel
from pathray.encoders.digest import digest_of
from pathray.encoders.loading import random_model
from pathray.encoders.network import Output
from pathray.encoders.pooling import poolings
from pathray.encoders.preprocess import Preprocess
from pathray.encoders.spec import Precision
from pathray.encoders.torch_encoder import TorchEncoder

Tiles = NDArray[np.uint8]
SIDE = 32
TINY = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def spec_of(pooling: str, width: int, **changes: object) -> EncoderSpec:
    kwargs = dict(TINY, reg_tokens=2, dynamic_img_size=True)
    values: dict[str, object] = {
        "name": "tiny",
        "builder": TimmModel("vit_tiny_patch16_224", kwargs),
        "weights": None,
        "input_size": SIDE,
        "mean": (0.7, 0.5, 0.6),
        "std": (0.2, 0.25, 0.3),
        "interpolation": "bicubic",
        "pooling": pooling,
        "width": width,
        "mpp": 0.5,
        "licence": None,
        "source": None,
        "gated": False,
        "precision": None,
    }
    return EncoderSpec(**{**values, **changes})  # type: ignore[arg-type]


def encoder_of(spec: EncoderSpec, precision: Precision = "fp32") -> TorchEncoder:
    model = random_model(spec, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            # Fresh transformers are nearly linear; larger weights make differences show.
            parameter.mul_(2)
    digest = digest_of(model.state_dict(), spec)
    return TorchEncoder(spec, model, digest, precision, torch.device("cpu"))


def tiles_of(count: int, side: int = SIDE, seed: int = 0) -> Tiles:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def class_encoder() -> TorchEncoder:
    return encoder_of(spec_of("class", 24))


def test_the_same_batch_gives_the_same_bytes(class_encoder: TorchEncoder) -> None:
    tiles = tiles_of(5)
    assert class_encoder(tiles).tobytes() == class_encoder(tiles).tobytes()


def test_embeddings_are_float32_of_the_specs_width(class_encoder: TorchEncoder) -> None:
    features = class_encoder(tiles_of(3))
    assert (features.dtype, features.shape) == (np.float32, (3, 24))
    assert class_encoder(tiles_of(0)).shape == (0, 24)


@settings(max_examples=25)
@given(data=st.data(), count=st.integers(1, 9))
def test_embeddings_depend_on_neither_batch_size_nor_order(
    class_encoder: TorchEncoder, data: st.DataObject, count: int
) -> None:
    tiles = tiles_of(count, seed=count)
    order = data.draw(st.permutations(range(count)))
    cut = data.draw(st.integers(0, count))
    shuffled = tiles[list(order)]
    parts = [class_encoder(part) for part in (shuffled[:cut], shuffled[cut:]) if len(part)]
    restored = np.empty((count, 24), np.float32)
    restored[list(order)] = np.concatenate(parts)
    np.testing.assert_allclose(restored, class_encoder(tiles), atol=2e-6)


@pytest.mark.parametrize(
    "builder",
    [
        TimmModel("vit_tiny_patch16_224", TINY),
        TimmModel("beitv2_base_patch16_224", {**TINY, "mlp_ratio": 2.0}),
        TimmModel("resnet10t"),
    ],
    ids=lambda builder: builder.model,
)
def test_a_batch_of_n_equals_n_singles(builder: TimmModel) -> None:
    width = 512 if builder.model == "resnet10t" else 24
    encoder = encoder_of(spec_of("model", width, builder=builder))
    tiles = tiles_of(4)
    singles = np.concatenate([encoder(tile[None]) for tile in tiles])
    np.testing.assert_allclose(encoder(tiles), singles, atol=1e-5 * np.abs(singles).max())


def test_pooling_equals_hand_sliced_tokens(class_encoder: TorchEncoder) -> None:
    # One class token, two registers, then 4 x 4 patches.
    tiles = tiles_of(2)
    model = random_model(spec_of("class", 24), seed=3)
    images = Preprocess(class_encoder.spec, torch.device("cpu"), torch.contiguous_format)(tiles)
    tokens = model.forward_features(images)  # type: ignore[operator]
    assert tokens.shape == (2, 1 + 2 + 16, 24)
    by_hand = {
        "class": tokens[:, 0],
        "mean_patch": tokens[:, 3:].mean(1),
        "class_mean_patch": torch.cat([tokens[:, 0], tokens[:, 3:].mean(1)], 1),
    }
    for rule, expected in by_hand.items():
        torch.testing.assert_close(poolings.get(rule)(Output(model, images)), expected)
    normed = poolings.get("mean_patch_layernorm")(Output(model, images))
    assert normed.mean(1).abs().max() < 1e-6
    assert (normed.var(1, unbiased=False) - 1).abs().max() < 1e-3


def test_clams_resnet_feature_is_the_mean_of_the_third_stage() -> None:
    import timm

    spec = spec_of("stage3_mean", 256, builder=TimmModel("resnet10t"))
    images = torch.randn(2, 3, 64, 64)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        whole = timm.create_model("resnet10t", num_classes=0).eval()
    x = whole.maxpool(whole.act1(whole.bn1(whole.conv1(images))))
    expected = whole.layer3(whole.layer2(whole.layer1(x))).mean((2, 3))
    trimmed = random_model(spec, seed=3)
    torch.testing.assert_close(poolings.get("stage3_mean")(Output(trimmed, images)), expected)
    assert not any(name.startswith("layer4") for name in trimmed.state_dict())


def test_patch_tokens_lie_where_the_patches_do(class_encoder: TorchEncoder) -> None:
    tiles = tiles_of(2)
    dense = class_encoder.patch_tokens(tiles)
    assert (dense.shape, dense.dtype) == ((2, 4, 4, 24), np.float32)
    mean = encoder_of(spec_of("mean_patch", 24))
    np.testing.assert_allclose(mean.patch_tokens(tiles).mean((1, 2)), mean(tiles), atol=1e-5)


def test_a_network_without_tokens_has_no_patch_tokens() -> None:
    from pathray.errors import RequestError

    encoder = encoder_of(spec_of("model", 512, builder=TimmModel("resnet10t")))
    with pytest.raises(RequestError, match="no patch tokens"):
        encoder.patch_tokens(tiles_of(1))
    with pytest.raises(RequestError, match="no patch tokens"):
        load_encoder("mean_rgb").patch_tokens(tiles_of(1))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_stays_within_cosine_0_999_of_fp32(
    class_encoder: TorchEncoder, precision: Precision
) -> None:
    tiles = tiles_of(16)
    full, low = class_encoder(tiles), encoder_of(class_encoder.spec, precision)(tiles)
    cosine = (full * low).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(low, axis=1)
    assert cosine.min() > 0.999
    assert low.tobytes() != full.tobytes()


def test_normalisation_is_the_textbooks() -> None:
    spec = spec_of("class", 24)
    tiles = tiles_of(2)
    images = Preprocess(spec, torch.device("cpu"), torch.contiguous_format)(tiles)
    assert spec.mean is not None
    assert spec.std is not None
    expected = (tiles / 255 - np.array(spec.mean)) / np.array(spec.std)
    np.testing.assert_allclose(images.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_a_tile_of_another_side_is_resized_and_a_constant_stays_constant() -> None:
    preprocess = Preprocess(spec_of("class", 24), torch.device("cpu"), torch.contiguous_format)
    gray = np.full((1, 50, 50, 3), 200, np.uint8)
    native = np.full((1, SIDE, SIDE, 3), 200, np.uint8)
    torch.testing.assert_close(preprocess(gray), preprocess(native), atol=1e-4, rtol=0)


def test_a_published_crop_keeps_the_centre() -> None:
    spec = spec_of("class", 24, resize_to=SIDE + 8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    tiles = tiles_of(1, side=SIDE + 8)
    images = Preprocess(spec, torch.device("cpu"), torch.contiguous_format)(tiles)
    centre = tiles[:, 4:-4, 4:-4].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(images.numpy(), centre, atol=1e-6)
    assert spec.tile_size == SIDE + 8


def test_a_tensor_is_as_good_as_an_array(class_encoder: TorchEncoder) -> None:
    tiles = tiles_of(2)
    assert np.array_equal(class_encoder(torch.from_numpy(tiles)), class_encoder(tiles))


@pytest.mark.parametrize(
    "tiles", [np.zeros((1, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)]
)
def test_what_is_no_batch_of_bytes_is_refused(
    class_encoder: TorchEncoder, tiles: NDArray[np.generic]
) -> None:
    for encoder in (class_encoder, load_encoder("mean_rgb")):
        with pytest.raises(ValueError, match=r"uint8 \(B, H, W, 3\)"):
            encoder(tiles)  # type: ignore[arg-type]


def test_mean_rgb_is_mean_and_deviation() -> None:
    tiles = tiles_of(3, side=20)
    scaled = tiles.reshape(3, -1, 3) / 255
    expected = np.concatenate([scaled.mean(1), scaled.std(1)], axis=1)
    np.testing.assert_allclose(load_encoder("mean_rgb")(tiles), expected, atol=1e-6)


def test_the_digest_knows_weights_preprocessing_and_pooling_and_nothing_else() -> None:
    spec = spec_of("class", 24)
    digest = encoder_of(spec).digest
    assert encoder_of(spec, "bf16").digest == digest
    assert encoder_of(spec_of("class", 24, name="other", licence="MIT")).digest == digest
    changes: list[dict[str, object]] = [
        {"mean": (0.7, 0.5, 0.5)},
        {"interpolation": "bilinear"},
        {"resize_to": 64},
    ]
    for change in changes:
        assert encoder_of(spec_of("class", 24, **change)).digest != digest
    assert encoder_of(spec_of("mean_patch", 24)).digest != digest
    state = random_model(spec, seed=3).state_dict()
    before = digest_of(state, spec)
    state["cls_token"][0, 0, 0] += 1e-3
    assert digest_of(state, spec) != before


def test_auto_is_bf16_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from pathlib import Path

    from pathray.encoders import precision

    cpuinfo = Path(str(tmp_path)) / "cpuinfo"
    monkeypatch.setattr(precision, "_CPUINFO", cpuinfo)
    cpu = torch.device("cpu")
    for flags, expected in {
        "flags\t\t: fpu avx512f avx512_bf16": "bf16",
        "flags\t\t: fpu amx_bf16 amx_tile": "bf16",
        "Features\t: asimd bf16": "bf16",
        "flags\t\t: fpu avx2 avx512f": "fp32",
    }.items():
        cpuinfo.write_text(f"processor\t: 0\n{flags}\n")
        assert precision.resolve_precision("auto", cpu) == expected
    cpuinfo.unlink()
    assert precision.resolve_precision("auto", cpu) == "fp32"
