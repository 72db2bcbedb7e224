"""What the API says, as pydantic models: the OpenAPI document is made of them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class EncoderDescription(BaseModel):
    """The tile encoder of this application."""

    name: str
    digest: str = Field(description="sha256 of weights, preprocessing and pooling")
    precision: str
    dim: int = Field(description="length of an embedding")
    tile_size: int = Field(description="side in pixels of the tiles it wants")
    mpp: float | None = Field(description="microns per pixel it expects; null: not known")
    licence: str | None
    source: str | None


class Encoders(BaseModel):
    """The encoders of this application."""

    encoders: list[EncoderDescription]


class ModelDescription(BaseModel):
    """A slide model that can be asked for by `name`."""

    name: str
    uri: str = Field(description="where it was loaded from, with its version")
    digest: str
    target: str
    task: Literal["classification", "survival"]
    classes: list[str] = Field(description="of a classifier, in the order of probabilities")
    heads: int = Field(description="models in the ensemble")
    aggregator: str
    encoder_digest: str | None = Field(description="the encoder it was trained on")
    tile_size: int | None
    mpp: float | str | None
    time_unit: str | None
    usable: bool = Field(description="whether this application's encoder is the model's")


class Models(BaseModel):
    """The slide models of this application, and those that cannot be loaded."""

    models: list[ModelDescription]
    unavailable: list[str] = Field(description="names of configured models that cannot be loaded")


class Embedded(BaseModel):
    """Embeddings of the tiles, in their order."""

    encoder: EncoderDescription
    embeddings: list[list[float]] = Field(description="N x dim, float16 values")


class ClassProbability(BaseModel):
    """One class: the ensemble's mean, and the lowest and highest of its models."""

    name: str
    probability: float
    low: float
    high: float


class Classification(BaseModel):
    """The answer of a classifier."""

    predicted: str = Field(description="the class of highest mean probability")
    classes: list[ClassProbability]
    heads: list[list[float]] = Field(description="each model's probabilities")


class SurvivalCurve(BaseModel):
    """The probability to be alive at each time, and until the next."""

    time: list[float]
    survival: list[float]
    low: list[float]
    high: list[float]


class Survival(BaseModel):
    """The answer of a survival model; a higher risk dies sooner."""

    risk: float = Field(description="the ensemble's mean, relative to the mean training patient")
    low: float
    high: float
    heads: list[float] = Field(description="each model's risk")
    curve: SurvivalCurve
    time_unit: str | None


class TopTile(BaseModel):
    """One of the most attended tiles."""

    index: int = Field(description="row of the embeddings")
    attention: float = Field(description="share of the slide's whole attention")
    x: int | None = Field(default=None, description="left edge in level-0 pixels")
    y: int | None = Field(default=None, description="top edge in level-0 pixels")
    side: int | None = Field(default=None, description="side in level-0 pixels")
    image: str | None = Field(default=None, description="path of the tile's JPEG")


class UsedModel(BaseModel):
    """Which slide model answered."""

    name: str
    uri: str
    digest: str
    target: str
    heads: int


class UsedEncoder(BaseModel):
    """Which encoder made the embeddings."""

    name: str | None
    digest: str | None
    precision: str | None = None


class Prediction(BaseModel):
    """What an ensemble says of one slide."""

    model_config = ConfigDict(extra="forbid")

    model: UsedModel
    encoder: UsedEncoder
    software_version: str
    tiles: int
    classification: Classification | None = None
    survival: Survival | None = None
    top_tiles: list[TopTile]


class SlideDescription(BaseModel):
    """The slide of a prediction. Sizes in level-0 pixels."""

    uri: str
    slide_id: str
    width: int | None = None
    height: int | None = None
    mpp: float | None = None
    side: int | None = Field(default=None, description="side of a tile in level-0 pixels")


class Progress(BaseModel):
    """How far a running prediction is."""

    stage: Literal["waiting", "planning", "embedding", "predicting", "done"]
    tiles_done: int = 0
    tiles: int | None = Field(default=None, description="null until they are planned")


class Links(BaseModel):
    """Where a finished prediction's pictures are, relative to the service's address."""

    self: str
    thumbnail: str
    heatmap: str
    heatmap_dzi: str
    slide_dzi: str
    attention: str


class PredictionRecord(BaseModel):
    """A slide's prediction as it stands."""

    id: str
    status: Literal["waiting", "running", "done", "failed"]
    model: str
    slide: SlideDescription
    created: str = Field(description="ISO 8601, UTC")
    finished: str | None = None
    progress: Progress
    error: str | None = Field(default=None, description="why it failed")
    tiles_lost: int = 0
    result: Prediction | None = None
    links: Links | None = Field(default=None, description="of a finished prediction")


class Predictions(BaseModel):
    """A page of finished predictions, newest first; on the first page those under way too."""

    items: list[PredictionRecord] = Field(description="done and failed")
    under_way: list[PredictionRecord] = Field(description="waiting and running, oldest first")
    next: str | None = Field(description="give it as `after` for the next page; null: no more")


class PredictRequest(BaseModel):
    """What to predict from: exactly one of `slide`, `embeddings_uri` and `embeddings`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model": "subtype", "slide": "s3://slides/case-1.svs"},
                {"model": "subtype", "embeddings_uri": "s3://embeddings/case-1.parquet"},
            ]
        },
    )

    model: str = Field(max_length=64, description="name of a model of /v1/models")
    slide: str | None = Field(default=None, max_length=2048)
    embeddings_uri: str | None = Field(default=None, max_length=2048)
    embeddings: list[list[float]] | None = Field(default=None, description="N x dim")
    encoder_digest: str | None = Field(
        None, max_length=64, description="with `embeddings`: the encoder that made them"
    )


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Embedding and prediction answer."""

    status: Literal["ready"]
