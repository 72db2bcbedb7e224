"""Tile encoders: what they are, how they are loaded, and what they say of a tile.

>>> encoder = load_encoder("mean_rgb")
>>> encoder(tiles)  # uint8 (B, H, W, 3) -> float32 (B, 6)
"""

from pathray.encoders import catalogue as _catalogue  # noqa: F401  (fills the registry)
from pathray.encoders.loading import load_encoder
from pathray.encoders.names import resolve
from pathray.encoders.spec import Encoder, EncoderSpec, registry

__all__ = ["Encoder", "EncoderSpec", "load_encoder", "registry", "resolve"]
