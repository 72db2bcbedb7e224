"""Slide models of an application: cards, and predictions as the API tells them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pathray import __version__
from pathray.errors import PathrayError
from pathray.slideprediction import Range, SlidePrediction
from serve.schemas import (
    Classification,
    ClassProbability,
    Prediction,
    Survival,
    SurvivalCurve,
    TopTile,
    UsedEncoder,
    UsedModel,
)

TOP_TILES = 12
"""Most attended tiles that are told and shown."""


class ModelUnavailableError(PathrayError):
    """A slide model cannot be loaded now. Told to clients: why is in the log alone."""


@dataclass(frozen=True)
class ModelCard:
    """What the rest of the application needs to know of a loaded slide model."""

    uri: str
    digest: str
    target: str
    loss: str
    classes: tuple[str, ...]
    heads: int
    aggregator: str
    dim: int
    encoder_digest: str | None
    encoder_name: str | None
    tile_size: int | None
    mpp: float | str | None
    time_unit: str | None

    @property
    def task(self) -> Any:
        """`classification` or `survival`."""
        return "classification" if self.loss == "ce" else "survival"


def card_of(uri: str, model: Any) -> ModelCard:
    """The card of a `pathray.slidemodel.SlideModel` loaded from `uri`."""
    head = model.head
    return ModelCard(
        uri=uri,
        digest=model.digest,
        target=head.target,
        loss=head.loss,
        classes=tuple(head.classes),
        heads=len(model.heads),
        aggregator=head.settings.aggregator,
        dim=head.made.dim,
        encoder_digest=head.made.encoder_digest,
        encoder_name=head.made.encoder,
        tile_size=head.made.tile_size,
        mpp=head.made.mpp,
        time_unit=model.time_unit,
    )


def told(
    name: str,
    card: ModelCard,
    found: SlidePrediction,
    encoder: UsedEncoder,
    place: Callable[[int, int], dict[str, Any]] | None = None,
) -> Prediction:
    """A prediction as the API tells it. `place` gives a top tile's x, y, side and image by its
    rank and row, where they are known."""
    rows = found.most_attended(TOP_TILES).tolist()
    return Prediction(
        model=UsedModel(
            name=name, uri=card.uri, digest=card.digest, target=card.target, heads=card.heads
        ),
        encoder=encoder,
        software_version=__version__,
        tiles=len(found.attention),
        classification=_classification(found),
        survival=_survival(found, card.time_unit),
        top_tiles=[
            TopTile(
                index=row,
                attention=float(found.attention[row]),
                **(place(rank, row) if place else {}),
            )
            for rank, row in enumerate(rows)
        ],
    )


def _classification(found: SlidePrediction) -> Classification | None:
    if found.probabilities is None:
        return None
    over = Range.over(found.probabilities)
    classes = [
        ClassProbability(name=name, probability=mean, low=low, high=high)
        for name, mean, low, high in zip(
            found.classes, over.mean.tolist(), over.low.tolist(), over.high.tolist(), strict=True
        )
    ]
    return Classification(
        predicted=found.classes[int(over.mean.argmax())],
        classes=classes,
        heads=found.probabilities.tolist(),
    )


def _survival(found: SlidePrediction, time_unit: str | None) -> Survival | None:
    if found.risks is None or found.times is None or found.curves is None:
        return None
    risk, curve = Range.over(found.risks), Range.over(found.curves)
    return Survival(
        risk=float(risk.mean),
        low=float(risk.low),
        high=float(risk.high),
        heads=found.risks.tolist(),
        curve=SurvivalCurve(
            time=found.times.tolist(),
            survival=curve.mean.tolist(),
            low=curve.low.tolist(),
            high=curve.high.tolist(),
        ),
        time_unit=time_unit,
    )
