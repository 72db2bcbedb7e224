"""The registry as rows, for tables and JSON."""

from pathray.encoders import external
from pathray.encoders.architecture import ForeignCode, TimmModel
from pathray.encoders.spec import EncoderSpec, HubWeights, TimmWeights, registry


def describe_all() -> list[dict[str, object]]:
    """One row an encoder, registered ones first, then those of installed packages.

    Keys: name, dim, input_size, tile_size, expected_mpp, pooling, parameters, precision,
    licence, source, gated, weights (`hub`, `timm`, `file`, `code` or None) and note. What is
    not known is None.
    """
    outside = external.installed()
    specs = [registry.get(name) for name in registry] + list(outside.values())
    return [_row(spec) for spec in specs]


def _row(spec: EncoderSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "dim": spec.width,
        "input_size": spec.input_size,
        "tile_size": spec.tile_size,
        "expected_mpp": spec.mpp,
        "pooling": spec.pooling,
        "parameters": spec.parameters,
        "precision": spec.precision,
        "licence": spec.licence,
        "source": spec.source,
        "gated": spec.gated,
        "weights": _weights(spec),
        "note": spec.builder.reason if isinstance(spec.builder, ForeignCode) else None,
    }


def _weights(spec: EncoderSpec) -> str | None:
    """Where the weights come from: `file` are those to bring with --weights."""
    if isinstance(spec.weights, HubWeights):
        return "hub"
    if isinstance(spec.weights, TimmWeights):
        return "timm"
    if isinstance(spec.builder, TimmModel):
        return "file"
    return None if spec.light or isinstance(spec.builder, ForeignCode) else "code"
