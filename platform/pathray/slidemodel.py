"""A slide model: the fold models of one cross-validation as an ensemble, in one directory.

    slidemodel.json            format, number of heads, their digests, the unit of time
    heads/0, heads/1, …        `head.json` and `model.safetensors` each (`pathray.mil.head`)

`finetune` writes it (and registers it), `predict` and `serve` load it. What a survival head
needs beside its weights lies in its `task`: `cox_task` and `nll_task` make that, and nothing
else reads it. No pickle anywhere.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pathray import storage
from pathray.encoders.checkpoint import read_object
from pathray.errors import RequestError, one_line
from pathray.mil.aggregator import Aggregator
from pathray.mil.formats.bag import Made
from pathray.mil.head import Head, digest_of, load_head, save_head
from pathray.modelregistry import download, is_registered
from pathray.slideprediction import SlidePrediction
from pathray.survival.breslow import BreslowBaseline
from pathray.survival.discrete import discrete_risk, discrete_survival, survival_at

FORMAT = 1
DESCRIPTION = "slidemodel.json"
CURVE_POINTS = 200
"""Most times at which a survival curve is told."""

_SHARED = ("made", "target", "loss", "classes", "level")
"""What the heads of an ensemble have in common."""


@dataclass(frozen=True)
class SlideModel:
    """An ensemble in memory, ready to predict. `digest` is the sha256 of its heads' digests."""

    heads: tuple[tuple[Head, Aggregator], ...]
    digest: str
    time_unit: str | None = None

    @property
    def head(self) -> Head:
        """The first head: its target, classes, loss and `made` are those of all."""
        return self.heads[0][0]

    def refuse_other(self, made: Made, name: str = "these embeddings") -> None:
        """RequestError unless embeddings made so are what the model was trained on."""
        self.head.refuse_other(made, name)

    def predict(self, features: NDArray[np.floating]) -> SlidePrediction:
        """The prediction for a bag of tile embeddings (N, D), N > 0, finite.

        The caller has asked `refuse_other`. Raises RequestError for no tiles, another width
        or a value that is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.head.made.dim:
            raise RequestError(
                f"embeddings of shape {features.shape} for a model of width {self.head.made.dim}"
            )
        if not len(features):
            raise RequestError("there are no tiles to predict from")
        if not np.isfinite(features).all():
            raise RequestError("an embedding is not finite")
        bag = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        offsets = torch.tensor([0, len(features)])
        logits, attention = [], []
        with torch.inference_mode():
            for _, model in self.heads:
                found = model(bag, offsets)
                logits.append(found.logits[0].double())
                attention.append(model.normalised(found).double().numpy())
        return self._read(torch.stack(logits), attention)

    def _read(self, logits: torch.Tensor, attention: list[NDArray[np.float64]]) -> SlidePrediction:
        if self.head.loss == "ce":
            probabilities = logits.softmax(dim=1).numpy()
            column = int(probabilities.mean(axis=0).argmax())
            return SlidePrediction(
                _mean_attention(attention, column), self.head.classes, probabilities
            )
        cox = self.head.loss == "cox"
        risks, times, curves = (_cox if cox else _nll)([head for head, _ in self.heads], logits)
        return SlidePrediction(
            _mean_attention(attention, None), risks=risks, times=times, curves=curves
        )


def _mean_attention(attention: list[NDArray[np.float64]], column: int | None) -> Any:
    """(N,) of (N, columns) of each model: the column of the predicted class, else their mean."""
    each = [
        a[:, column] if column is not None and a.shape[1] > 1 else a.mean(axis=1) for a in attention
    ]
    return np.mean(each, axis=0).astype(np.float32)


def _cox(heads: Sequence[Head], logits: torch.Tensor) -> tuple[Any, Any, Any]:
    baselines = [_baseline_of(head) for head in heads]
    risks = logits[:, 0].numpy()
    times = _times([baseline.times for baseline in baselines])
    curves = [b.survival(risk[None], times)[0] for b, risk in zip(baselines, risks, strict=True)]
    centres = np.array([baseline.centre for baseline in baselines])
    return risks - centres, times, np.stack(curves)


def _nll(heads: Sequence[Head], logits: torch.Tensor) -> tuple[Any, Any, Any]:
    edges = [np.asarray(head.task["edges"], np.float64) for head in heads]
    times = _times(edges)
    risks, curves = [], []
    for own, logit in zip(edges, logits, strict=True):
        # Where training events were few there are fewer edges: the rest was never learnt.
        learnt = logit[None, : len(own) + 1]
        risks.append(discrete_risk(learnt).numpy()[0])
        curves.append(survival_at(discrete_survival(learnt).numpy(), own, times)[0])
    return np.array(risks), times, np.stack(curves)


def _times(of_models: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """0 and all times at which a curve steps, thinned evenly where they are many."""
    times = np.unique(np.concatenate([[0.0], *of_models]))
    if len(times) <= CURVE_POINTS:
        return times
    return times[np.round(np.linspace(0, len(times) - 1, CURVE_POINTS)).astype(np.int64)]


def cox_task(baseline: BreslowBaseline) -> dict[str, Any]:
    """The `task` of a Cox head: its fold's baseline hazard."""
    return {
        "times": baseline.times.tolist(),
        "cumulative_hazard": baseline.cumulative_hazard.tolist(),
        "centre": baseline.centre,
    }


def nll_task(edges: NDArray[np.float64]) -> dict[str, Any]:
    """The `task` of a discrete-time head: the inner edges of its fold's intervals."""
    return {"edges": edges.tolist()}


def _baseline_of(head: Head) -> BreslowBaseline:
    task = head.task
    times, hazard = (np.asarray(task[name], np.float64) for name in ("times", "cumulative_hazard"))
    return BreslowBaseline(times, hazard, float(task["centre"]))


def save_slide_model(
    uri: str, heads: Sequence[tuple[Head, Aggregator]], time_unit: str | None = None
) -> str:
    """Write an ensemble to a directory at any URI; returns its digest.

    The heads share target, loss, classes, level and `made` (ValueError); survival heads have
    the `task` of `cox_task` or `nll_task`. The description goes last: with a
    `slidemodel.json` the directory is whole.
    """
    _check([head for head, _ in heads])
    digests = [
        save_head(storage.join(uri, f"heads/{index}"), head, model)
        for index, (head, model) in enumerate(heads)
    ]
    described = {"format": FORMAT, "heads": digests, "time_unit": time_unit}
    text = json.dumps(described, indent=2) + "\n"
    storage.put_bytes(storage.join(uri, DESCRIPTION), text.encode())
    return _digest(digests)


def _check(heads: Sequence[Head]) -> None:
    if not heads:
        raise ValueError("an ensemble has at least one head")
    for head in heads[1:]:
        for name in _SHARED:
            if getattr(head, name) != getattr(heads[0], name):
                raise ValueError(f"the heads of an ensemble differ in {name}")
    for head in heads:
        needed = {"cox": {"times", "cumulative_hazard", "centre"}, "nll": {"edges"}}
        missing = needed.get(head.loss, set()) - set(head.task)
        if missing:
            raise ValueError(f"a head's task lacks {', '.join(sorted(missing))}")


def _digest(digests: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def load_slide_model(uri: str) -> SlideModel:
    """The ensemble in a directory at any URI, or of the MLflow registry.

    `models:/NAME@ALIAS` and `models:/NAME/VERSION` are downloaded through MLflow's client.
    Raises RequestError when it is not there, not whole, or not a slide model.
    """
    if not is_registered(uri):
        return _load(uri)
    with tempfile.TemporaryDirectory(prefix="pathray-model-") as folder:
        return _load(download(uri, folder), uri)


def _load_head(uri: str, digest: str) -> tuple[Head, Aggregator]:
    head, model = load_head(uri)
    if digest_of(head, model) != digest:
        raise RequestError(f"{uri} is not the head that {DESCRIPTION} names: the copy is mixed")
    return head, model


def _load(directory: str, name: str | None = None) -> SlideModel:
    name = name or directory
    try:
        described: Mapping[str, Any] = json.loads(read_object(storage.join(directory, DESCRIPTION)))
        version, digests = described["format"], list(described["heads"])
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{name} is no slide model: {one_line(error, 160)}") from error
    if version != FORMAT:
        raise RequestError(f"{name} has format {version}; this version reads {FORMAT}")
    heads = [
        _load_head(storage.join(directory, f"heads/{index}"), digest)
        for index, digest in enumerate(digests)
    ]
    try:
        _check([head for head, _ in heads])
    except ValueError as error:
        raise RequestError(f"{name}: {error}") from error
    return SlideModel(tuple(heads), _digest(digests), described.get("time_unit"))
