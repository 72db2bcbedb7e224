"""`pathray predict`: a slide model applied to embeddings or slides, or a tile model to tiles."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SOURCES = ("embeddings", "slides", "tiles")
OF_ENCODERS = ("encoder", "weights", "random_init", "allow_pickle", "seed")
_OF_SLIDES = ("min_tissue", "assume_mpp", "allow_upsample")
FOREIGN = {
    "embeddings": (*OF_ENCODERS, *_OF_SLIDES),
    "slides": ("cohort",),
    "tiles": ("cohort", "patient_id", *_OF_SLIDES),
}
"""Flags that have no meaning with a source."""


class Flags(BaseModel):
    """Apply a slide model to embeddings, or to slides, which are embedded first; a tile model to
    tiles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="models:/NAME@ALIAS, or the URI of a model's folder")
    embeddings: str | None = Field(None, description="embeddings, one file a slide")
    slides: str | None = Field(
        None, description="directory, prefix, glob, slide or cohort table, instead"
    )
    tiles: str | None = Field(
        None, description="for a tile model: folder of tiles, or CSV table with a column path"
    )
    out: str = Field(description="folder or prefix for the results (any fsspec URI)", min_length=1)
    cohort: str | None = Field(
        None, description="for --embeddings: table of the slides to predict and their patients"
    )
    patient_id: str | None = Field(
        None,
        description="for a model of patients: a column of --cohort (default: patient_id), tcga "
        "(from barcodes), or slide, each for itself (default: patients that embeddings know of)",
    )
    encoder: str | None = Field(
        None, description="for --slides, --tiles: the encoder that the model was trained on"
    )
    weights: str | None = Field(None, description="of the encoder: URI of its weights")
    random_init: bool = Field(False, description="of the encoder: seeded random weights")
    allow_pickle: bool = Field(False, description="of the encoder: weights that need pickled code")
    seed: int = Field(0, ge=0, description="of the encoder: source of the random weights")
    min_tissue: float = Field(0.75, ge=0, le=1, description="for --slides: as of embed")
    assume_mpp: float | None = Field(
        None, ge=0.05, le=2.0, description="for --slides: microns per pixel where slides do not say"
    )
    allow_upsample: bool = Field(False, description="for --slides: as of embed")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give either --embeddings, --slides or --tiles")
        if self.slides is not None and self.encoder is None:
            raise ValueError("--slides needs --encoder: the one that the model was trained on")
        foreign = self.model_fields_set & set(FOREIGN[given[0]])
        if foreign:
            flag = "--" + min(foreign).replace("_", "-")
            raise ValueError(f"{flag} has no meaning with --{given[0]}")
        if self.cohort is None and self.patient_id not in (None, "tcga", "slide"):
            raise ValueError(
                f"--patient-id {self.patient_id!r}: say tcga or slide, or give --cohort, a table "
                "with that column"
            )
        return self


def run(flags: Flags) -> int:
    """Predict; returns the exit code."""
    if flags.tiles is not None:
        from jobs.predicttiles import predict_tiles

        return predict_tiles(flags)
    from jobs.predictrun import predict  # Ray and torch stay out of --help

    return predict(flags)
