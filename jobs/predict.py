"""`pathray predict`: a slide model applied to embeddings, or to slides embedded on the way."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Flags(BaseModel):
    """Apply a slide model to embeddings, or to slides, which are embedded first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="models:/NAME@ALIAS, or the URI of a slide model's folder")
    embeddings: str | None = Field(None, description="embeddings, one file a slide")
    slides: str | None = Field(
        None, description="directory, prefix, glob, slide or cohort table, instead"
    )
    out: str = Field(description="folder or prefix for the results (any fsspec URI)", min_length=1)
    patient_id: str | None = Field(
        None,
        description="for a model of patients: tcga (from barcodes), or slide, each for itself "
        "(default: the patients that the embeddings know of)",
    )
    encoder: str | None = Field(
        None, description="for --slides: the encoder that the model was trained on"
    )
    weights: str | None = Field(None, description="for --slides: URI of the encoder's weights")
    random_init: bool = Field(False, description="for --slides: seeded random weights")
    allow_pickle: bool = Field(False, description="for --slides: weights that need pickled code")
    seed: int = Field(0, ge=0, description="for --slides: source of the random weights")
    min_tissue: float = Field(0.75, ge=0, le=1, description="for --slides: as of embed")
    assume_mpp: float | None = Field(
        None, ge=0.05, le=2.0, description="for --slides: microns per pixel where slides do not say"
    )
    allow_upsample: bool = Field(False, description="for --slides: as of embed")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.slides is None) == (self.embeddings is None):
            raise ValueError("give either --embeddings or --slides")
        if self.slides is not None and self.encoder is None:
            raise ValueError("--slides needs --encoder: the one that the model was trained on")
        if self.embeddings is not None:
            given = self.model_fields_set - {"model", "embeddings", "out", "patient_id"}
            if given:
                flag = "--" + min(given).replace("_", "-")
                raise ValueError(f"{flag} has no meaning with --embeddings")
        if self.patient_id not in (None, "tcga", "slide"):
            raise ValueError(f"--patient-id {self.patient_id!r}: say tcga or slide")
        return self


def run(flags: Flags) -> int:
    """Predict; returns the exit code."""
    from jobs.predictrun import predict  # Ray and torch stay out of --help

    return predict(flags)
