"""What an application is configured by: the `args` of its entry in the Serve config file."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pathray.encoders.spec import Precision

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderSettings(_Settings):
    """The tile encoder. `name`, `weights`, `random_init`, `seed`, `precision` as for `embed`."""

    name: str
    weights: str | None = None
    random_init: bool = False
    seed: int = 0
    precision: Precision | None = None
    batch_size: int = Field(
        default=8, ge=1, description="most tiles in one pass of the network; 256 on a GPU"
    )
    wait_ms: float = Field(
        default=0.0, ge=0, le=100, description="how long an idle encoder waits for a batch to fill"
    )
    threads: int | None = Field(
        default=None, ge=1, description="threads on a CPU (default: num_cpus)"
    )


class Key(_Settings):
    """A bearer key that is let in: who holds it, and the sha256 (hex) of the key."""

    name: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Access(_Settings):
    """Who is let in: the `user_config` of the deployment `Ingress`. No keys only on loopback.

    Not among the `args`, because a change of those replaces every replica, and a change of
    this none.
    """

    keys: tuple[Key, ...] = ()


class Limits(_Settings):
    """What one request may ask, and how much is taken on at once."""

    body_mb: float = Field(default=64, gt=0, description="MB (10^6 bytes) of a request's body")
    tiles: int = Field(default=256, ge=1, description="tiles of an embed request")
    image_pixels: int = Field(default=1_048_576, ge=1, description="pixels of one image")
    request_pixels: int = Field(
        default=33_554_432, ge=1, description="pixels of all images of a request"
    )
    bag_tiles: int = Field(
        default=200_000, ge=1, description="tiles of a slide or of given embeddings"
    )
    concurrent_requests: int = Field(
        default=16, ge=1, description="embed and predict requests that one ingress replica works on"
    )
    seconds: float = Field(default=120, gt=0, description="for one request, its upload included")
    jobs: int = Field(default=100, ge=1, description="slide predictions waiting or running")
    retry_after_s: int = Field(default=2, ge=1, description="told to a client that was turned away")


class Settings(_Settings):
    """One application: one encoder, the slide models on top of it, and what they may open."""

    encoder: EncoderSettings
    models: dict[Name, str] = Field(
        default_factory=dict,
        description="name to slide model: models:/NAME@ALIAS, or the URI of a directory",
    )
    slides: tuple[str, ...] = Field(
        default=(), description="prefixes below which slides may be opened"
    )
    embeddings: tuple[str, ...] = Field(
        default=(), description="prefixes below which embeddings may be opened"
    )
    results: str | None = Field(
        None, description="prefix for slide predictions; without it there are none"
    )
    limits: Limits = Limits()
    cache_gb: float = Field(
        default=20, gt=0, description="node-local cache for slides that ranges cannot read"
    )
