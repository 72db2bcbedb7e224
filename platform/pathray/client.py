"""A client of Pathray's endpoints, as an application would use them.

    client = Client("http://127.0.0.1:8000", key="…")
    vectors = client.embed(tiles)                      # uint8 (N, H, W, 3) -> float16 (N, D)
    job = client.predict_slide("s3://bucket/a.svs", model="subtype")
    record = client.wait(job["id"])

Every call is idempotent, the submission of a slide too (the same slide, model and encoder are
the same prediction), so all are tried again when a connection breaks or a server says that it
is busy or broken.
"""

import io
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray

from pathray.errors import PathrayError

RETRIED = frozenset({429, 500, 502, 503, 504})
"""Answers that another attempt may better."""
LONGEST_PAUSE = 30.0
NPY = "application/x-npy"

Json = dict[str, Any]


class ServiceError(PathrayError):
    """The service refused. `status` is HTTP's (0: no answer), `problem` its RFC 9457 document."""

    def __init__(self, status: int, problem: Json) -> None:
        self.status, self.problem = status, problem
        text = problem.get("detail") or problem.get("title") or "no reason given"
        super().__init__(f"{status}: {text}" if status else str(text))


class Client:
    """A connection to the service at `url`; `key` is the bearer key, where it wants one.

    `timeout` seconds for one answer; `attempts` at most for a call, with growing pauses between
    them, or as long as the service asks for. Not for several threads at once: give each its own.
    """

    def __init__(
        self, url: str, key: str | None = None, timeout: float = 120.0, attempts: int = 8
    ) -> None:
        self.url, self.timeout, self.attempts = url.rstrip("/"), timeout, attempts
        self._session = requests.Session()
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def embed(self, tiles: NDArray[np.uint8] | Sequence[bytes]) -> NDArray[np.float16]:
        """Embeddings (N, D) of RGB tiles: uint8 (N, H, W, 3), or N files of JPEG or PNG."""
        if isinstance(tiles, np.ndarray):
            body = {"data": _npy(tiles), "headers": {"Content-Type": NPY}}
        else:
            body = {"files": [("tiles", (f"{i}", image)) for i, image in enumerate(tiles)]}
        body["headers"] = {**body.get("headers", {}), "Accept": NPY}  # type: ignore[dict-item]
        return _array(self._call("POST", "/v1/embed", **body).content)

    def predict(self, model: str, embeddings: NDArray[np.floating], encoder_digest: str) -> Json:
        """The prediction from embeddings (N, D) that the encoder of that digest made."""
        told = {"model": model, "encoder_digest": encoder_digest}
        headers = {"Content-Type": NPY}
        return self._json(
            "POST", "/v1/predict", params=told, data=_npy(embeddings), headers=headers
        )

    def predict_embeddings(self, model: str, uri: str) -> Json:
        """The prediction from an object that `pathray embed` wrote."""
        return self._json("POST", "/v1/predict", json={"model": model, "embeddings_uri": uri})

    def predict_slide(self, uri: str, model: str) -> Json:
        """Ask for the prediction of a slide; returns the record to `wait` for, with its `id`."""
        return self._json("POST", "/v1/predict", json={"model": model, "slide": uri})

    def prediction(self, id: str) -> Json:
        """The record of a slide's prediction as it stands."""
        return self._json("GET", f"/v1/predictions/{id}")

    def predictions(self, limit: int = 50, after: str | None = None) -> Json:
        """Finished predictions, newest first: `items`, and `next` to give as `after`."""
        query = {"limit": limit} | ({"after": after} if after else {})
        return self._json("GET", "/v1/predictions", params=query)

    def wait(
        self,
        id: str,
        seconds: float = 3600.0,
        every: float = 1.0,
        progress: Callable[[Json], None] | None = None,
    ) -> Json:
        """Poll until the prediction is done; returns its record.

        `progress` is given each record on the way. ServiceError when it failed, TimeoutError
        when it is not done after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            record = self.prediction(id)
            if progress:
                progress(record)
            if record["status"] == "done":
                return record
            if record["status"] == "failed":
                raise ServiceError(
                    200, {"title": "the prediction failed", "detail": record["error"]}
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"prediction {id} is {record['status']} after {seconds:g} s")
            time.sleep(every)

    def heatmap(self, id: str) -> bytes:
        """PNG of a prediction's attention, transparent where there is no tile."""
        return self._call("GET", f"/v1/predictions/{id}/heatmap.png").content

    def models(self) -> list[Json]:
        """The slide models that can be asked for."""
        return list(self._json("GET", "/v1/models")["models"])

    def encoders(self) -> list[Json]:
        """The tile encoder (one an application) that embeds here."""
        return list(self._json("GET", "/v1/encoders")["encoders"])

    def ready(self) -> bool:
        """Whether the service can embed and predict now; one attempt."""
        try:
            answer = self._session.get(f"{self.url}/readyz", timeout=self.timeout)
        except requests.RequestException:
            return False
        return answer.status_code == 200

    def _json(self, method: str, path: str, **request: Any) -> Json:
        content: Json = self._call(method, path, **request).json()
        return content

    def _call(self, method: str, path: str, **request: Any) -> requests.Response:
        for attempt in range(1, self.attempts + 1):
            pause = min(LONGEST_PAUSE, 0.1 * 2**attempt) * random.uniform(0.5, 1)
            try:
                answer = self._session.request(
                    method,
                    self.url + path,
                    timeout=self.timeout,
                    allow_redirects=False,  # a key must not follow to another host
                    **request,
                )
            except requests.RequestException as error:
                failure = ServiceError(0, {"detail": f"no answer from {self.url}: {error}"})
            else:
                if answer.status_code < 300:
                    return answer
                failure = ServiceError(answer.status_code, _problem(answer))
                if answer.status_code not in RETRIED:
                    raise failure
                pause = max(pause, _asked_pause(answer))
            if attempt < self.attempts:
                time.sleep(pause)
        raise failure


def _problem(answer: requests.Response) -> Json:
    try:
        content = answer.json()
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {"title": answer.reason}


def _asked_pause(answer: requests.Response) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(LONGEST_PAUSE, float(asked)) if asked.isdecimal() else 0.0


def _npy(array: NDArray[Any]) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def _array(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=False)
