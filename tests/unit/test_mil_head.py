"""A slide model on disk: whole, checked, and only for the embeddings it was trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pathray.errors import RequestError
from pathray.mil.aggregator import Aggregator, AggregatorSettings
from pathray.mil.aggregators import aggregators, build_aggregator
from pathray.mil.formats.bag import Made
from pathray.mil.head import Head, digest_of, load_head, save_head

MADE = Made(dim=6, encoder_digest="ab" * 32, mpp=0.5, tile_size=224, encoder="beph")


def built(name: str = "clam_mb") -> tuple[Head, Aggregator]:
    settings = AggregatorSettings(aggregator=name, dim=6, outputs=2, hidden=16, attention=4)
    head = Head(settings=settings, made=MADE, target="subtype", loss="ce", classes=("A", "B"))
    return head, build_aggregator(settings, seed=1)


@pytest.mark.parametrize("name", sorted(aggregators))
def test_a_model_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    head, model = built(name)
    digest = save_head(str(tmp_path / "head"), head, model)
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == [
        "head.json",
        "model.safetensors",
    ]
    again, loaded = load_head(str(tmp_path / "head"))
    assert again == head
    assert digest_of(again, loaded) == digest
    batch = torch.randn(5, 6), torch.tensor([0, 2, 5])
    assert torch.equal(loaded(*batch).logits, model.eval()(*batch).logits)


def test_the_digest_is_of_weights_and_description() -> None:
    head, model = built()
    other = build_aggregator(head.settings, seed=2)
    renamed = head.model_copy(update={"classes": ("B", "A")})
    assert len({digest_of(head, model), digest_of(head, other), digest_of(renamed, model)}) == 3


def test_a_task_of_its_own_travels_along(tmp_path: Path) -> None:
    head, model = built()
    survival = head.model_copy(
        update={"target": "survival", "loss": "nll", "task": {"cuts": [1.5, 2.0]}}
    )
    save_head(str(tmp_path), survival, model)
    assert load_head(str(tmp_path))[0].task == {"cuts": [1.5, 2.0]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"encoder_digest": "cd" * 32}, "encoder_digest differs"),
        ({"encoder_digest": None}, "encoder_digest differs"),
        ({"mpp": "native"}, r"mpp native.*: mpp differs"),
        ({"tile_size": 256}, "tile_size differs"),
        ({"dim": 7}, "dim differs"),
    ],
)
def test_other_embeddings_are_refused_by_name(change: dict[str, object], told: str) -> None:
    head, _ = built()
    with pytest.raises(RequestError, match=told):
        head.refuse_other(replace(MADE, **change))  # type: ignore[arg-type]


def test_the_same_embeddings_under_another_name_are_taken() -> None:
    built()[0].refuse_other(replace(MADE, encoder="mine"))


def test_what_is_damaged_or_no_model_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "head")
    with pytest.raises(RequestError, match="does not exist"):
        load_head(uri)
    save_head(uri, *built())
    where = tmp_path / "head" / "head.json"
    described = json.loads(where.read_text())
    for change, told in (
        ({"classes": ["B", "A"]}, "is damaged: its digest"),
        ({"format": 9}, "has format 9; this version reads 1"),
        ({"colour": "red"}, "describes no slide model"),
        ({"settings": {**described["settings"], "hidden": 24}}, "does not fit"),
    ):
        where.write_text(json.dumps(described | change))
        with pytest.raises(RequestError, match=told):
            load_head(uri)
    where.write_text("[]")
    with pytest.raises(RequestError, match="describes no slide model"):
        load_head(uri)
