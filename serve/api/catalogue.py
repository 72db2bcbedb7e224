"""Which encoder and which slide models there are."""

from dataclasses import asdict

from fastapi import APIRouter

from serve.application import Application
from serve.problem import Problem, responses
from serve.schemas import EncoderDescription, Encoders, ModelDescription, Models


def router(application: Application) -> APIRouter:
    """`/v1/encoders`, `/v1/models`."""
    routes = APIRouter(prefix="/v1", tags=["catalogue"])

    @routes.get("/encoders", responses=responses())
    async def encoders() -> Encoders:
        """The tile encoder of this application."""
        card = await application.encoder_card()
        return Encoders(encoders=[EncoderDescription(**asdict(card))])

    @routes.get("/models", responses=responses())
    async def models() -> Models:
        """The slide models that can be asked for, in the version they have now."""
        found, unavailable = [], []
        encoder = await application.encoder_card()
        for name in sorted(application.settings.models):
            try:
                card = await application.model(name)
            except Problem:
                unavailable.append(name)
                continue
            found.append(
                ModelDescription(
                    name=name,
                    uri=card.uri,
                    digest=card.digest,
                    target=card.target,
                    task=card.task,
                    classes=list(card.classes),
                    heads=card.heads,
                    aggregator=card.aggregator,
                    encoder_digest=card.encoder_digest,
                    tile_size=card.tile_size,
                    mpp=card.mpp,
                    time_unit=card.time_unit,
                    usable=card.encoder_digest == encoder.digest,
                )
            )
        return Models(models=found, unavailable=unavailable)

    return routes
