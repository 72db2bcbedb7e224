"""The registry of tile encoders: what it lists, what it builds, what it says when it cannot."""

import subprocess
import sys
from dataclasses import MISSING, fields

import pytest

from pathray.encoders import EncoderSpec, load_encoder, registry, resolve
from pathray.encoders.architecture import ForeignCode, TimmModel, build
from pathray.encoders.description import describe_all
from pathray.errors import RequestError

NAMES = sorted(registry)
BUILDABLE = [name for name in NAMES if isinstance(registry.get(name).builder, TimmModel)]
FOREIGN = [name for name in NAMES if isinstance(registry.get(name).builder, ForeignCode)]

# Stated by the authors, or in the papers' tables.
PARAMETERS = {
    "uni": 303_350_784,
    "virchow": 631_229_184,
    "virchow2": 631_239_424,
    "hoptimus0": 1_134_774_272,
    "hoptimus1": 1_134_774_272,
    "gpfm": 303_227_904,
}


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["mean_rgb", "beph"])
def test_naming_an_encoder_imports_no_torch(name: str) -> None:
    code = f"import sys; from pathray.encoders import resolve; resolve({name!r}); "
    assert run_python(code + "print('torch' in sys.modules, 'timm' in sys.modules)") == (
        "False False"
    )


def test_mean_rgb_runs_without_torch() -> None:
    code = (
        "import sys, numpy as np; from pathray.encoders import load_encoder; "
        "e = load_encoder('mean_rgb'); e(np.zeros((2, 8, 8, 3), np.uint8)); "
        "print(len(e.digest), 'torch' in sys.modules)"
    )
    assert run_python(code) == "64 False"


def test_an_encoder_cannot_be_registered_without_its_contract() -> None:
    required = {f.name for f in fields(EncoderSpec) if f.default is MISSING}
    assert required >= {
        "input_size", "mean", "std", "interpolation", "pooling", "width", "mpp", "licence",
        "source", "gated", "precision", "weights",
    }  # fmt: skip
    with pytest.raises(TypeError, match="mpp"):
        EncoderSpec(name="half", builder=TimmModel("vit_tiny_patch16_224"))  # type: ignore[call-arg]


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        registry.add("uni", registry.get("uni"))


def test_an_unknown_name_suggests_the_close_ones() -> None:
    with pytest.raises(RequestError, match=r"unknown encoder 'virchow3'; did you mean .*virchow2"):
        resolve("virchow3")


def test_a_name_like_no_other_lists_all() -> None:
    with pytest.raises(RequestError, match=r"known: .*beph.*uni.*timm/NAME"):
        resolve("qqqqqq")


def test_an_unknown_timm_name_suggests_the_close_ones() -> None:
    with pytest.raises(RequestError, match="vit_tiny_patch16_224"):
        resolve("timm/vit_tiny_patch16_2244")
    with pytest.raises(RequestError, match=r"it has: .*augreg_in21k"):
        resolve("timm/vit_tiny_patch16_224.no_such_weights")


def test_a_timm_name_brings_timms_own_preprocessing() -> None:
    spec = resolve("timm/vit_tiny_patch16_224")
    assert (spec.width, spec.input_size, spec.mean) == (192, 224, (0.5, 0.5, 0.5))
    assert spec.mpp is None


def test_a_path_without_encoder_json_is_no_encoder() -> None:
    with pytest.raises(RequestError, match=r"/no/such/place is no encoder directory"):
        resolve("/no/such/place")


def test_a_store_that_cannot_be_asked_is_not_called_empty() -> None:
    with pytest.raises(RequestError, match=r"(?s)nosuchstore://bucket/encoder"):
        resolve("nosuchstore://bucket/encoder")


@pytest.mark.parametrize("name", FOREIGN)
def test_an_encoder_of_foreign_code_says_so(name: str) -> None:
    with pytest.raises(RequestError, match="comes with its authors' code"):
        load_encoder(name, random_init=True)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_the_network_has_the_stated_parameter_count(name: str) -> None:
    spec = registry.get(name)
    assert spec.parameters == PARAMETERS[name]
    assert sum(p.numel() for p in on_meta(spec).parameters()) == PARAMETERS[name]


def test_beph_is_the_beitv2_backbone_of_85_76_million_parameters() -> None:
    count = sum(p.numel() for p in on_meta(registry.get("beph")).parameters())
    # With the relative position bias once a layer, as timm holds it.
    assert round(count / 1e6, 2) == 85.76


@pytest.mark.parametrize("name", BUILDABLE)
def test_every_buildable_encoder_gives_vectors_of_its_width(name: str) -> None:
    import torch

    from pathray.encoders.network import Output
    from pathray.encoders.pooling import poolings

    spec = registry.get(name)
    model = on_meta(spec)
    with torch.inference_mode():
        images = torch.empty(2, 3, spec.input_size, spec.input_size, device="meta")
        feature = poolings.get(spec.pooling)(Output(model, images))
    assert feature.shape == (2, spec.width)


def on_meta(spec: EncoderSpec):  # type: ignore[no-untyped-def]
    import torch

    from pathray.encoders.pooling import trim

    assert isinstance(spec.builder, TimmModel)
    with torch.device("meta"):
        return trim(build(spec.builder, spec.name), spec.pooling)


def test_the_description_names_every_encoder_and_invents_nothing() -> None:
    rows = {row["name"]: row for row in describe_all()}
    assert set(NAMES) <= set(rows)
    assert rows["beph"]["expected_mpp"] == 0.25
    assert rows["kaiko_s16"]["expected_mpp"] is None
    assert rows["gigapath"]["tile_size"] == 256
    assert rows["uni"]["gated"] is True
    assert (rows["uni"]["weights"], rows["beph"]["weights"]) == ("hub", "file")
