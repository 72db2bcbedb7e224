"""Replicas that die and clients that come in crowds: what is lost, and what is turned away."""

import copy
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import requests
from crowd import Ask, embed, load, tiles_of, wait_for_more
from serving import wait_until, write_slide

from jobs.serve import deploy, read_config
from pathray.client import Client, ServiceError
from pathray.encoders import load_encoder
from serve.keys import hash_key, new_key


def replicas(deployment: str) -> list[str]:
    import ray

    names = ray.util.list_named_actors(all_namespaces=True)
    start = f"SERVE_REPLICA::pathray#{deployment}"
    return sorted(name["name"] for name in names if name["name"].startswith(start))


def kill(deployment: str) -> None:
    """End a replica's process at once, as a crash would."""
    import ray

    for name in replicas(deployment):
        ray.kill(ray.get_actor(name, namespace="serve"))


def is_let_in(url: str, key: str) -> bool:
    try:
        return bool(Client(url, key).models())
    except ServiceError as error:
        if error.status != 401:
            raise
        return False


def predict(client: Client) -> None:
    vectors = np.random.default_rng(1).random((50, 6)).astype(np.float16)
    client.predict("subtype", vectors, load_encoder("mean_rgb").digest)


@pytest.mark.slow
@pytest.mark.parametrize(("deployment", "ask"), [("Encoder", embed), ("SlidePredictor", predict)])
def test_a_killed_replica_loses_no_request(service: Any, deployment: str, ask: Ask) -> None:
    with load(ask, lambda: service.client(attempts=1)) as told:
        wait_for_more(told, 10)
        kill(deployment)
        wait_for_more(told, 30)
    assert set(told) == {"answered"}, told


@pytest.mark.slow
def test_a_killed_ingress_loses_none_that_the_client_asks_again(service: Any) -> None:
    with load(embed, lambda: service.client(attempts=12)) as told:
        wait_for_more(told, 10)
        kill("Ingress")
        wait_for_more(told, 30)
    assert set(told) == {"answered"}, told


@pytest.mark.slow
def test_a_slide_whose_worker_is_killed_is_finished_by_another(service: Any) -> None:
    slide = write_slide(service.folder / "slides" / "killed.tif", seed=8)
    with service.client() as client:
        id = client.predict_slide(str(slide), "subtype")["id"]
        while client.prediction(id)["status"] == "waiting":
            time.sleep(0.01)
        kill("SlideWorker")
        record = client.wait(id, seconds=120)
    assert record["status"] == "done"


@pytest.mark.slow
def test_keys_come_and_go_under_load_and_every_replica_stays(service: Any) -> None:
    second = new_key()
    more = copy.deepcopy(service.config)
    more["applications"][0]["deployments"][0]["user_config"]["keys"].append(
        {"name": "second", "sha256": hash_key(second)}
    )
    before = replicas("")
    with load(embed, lambda: service.client(attempts=1)) as told:
        wait_for_more(told, 5)
        deploy(read_config(more, None, None))
        wait_until(lambda: is_let_in(service.url, second))
        deploy(read_config(service.config, None, None))
        wait_until(lambda: not is_let_in(service.url, second))
        wait_for_more(told, 5)
    assert set(told) == {"answered"}, told
    assert replicas("") == before


@pytest.mark.slow
def test_a_rolling_update_loses_no_request(service: Any) -> None:
    other = copy.deepcopy(service.config)
    other["applications"][0]["args"]["limits"]["tiles"] = 128
    before = replicas("Ingress")
    with load(embed, lambda: service.client(attempts=12)) as told:
        wait_for_more(told, 5)
        deploy(read_config(other, None, None))
        wait_until(lambda: not set(replicas("Ingress")) & set(before))
        wait_for_more(told, 10)
    assert set(told) == {"answered"}, told


def test_a_crowd_is_turned_away_at_once_and_told_when_to_come_back(service: Any) -> None:
    body = tiles_of(64).tobytes()
    headers = {
        "Authorization": f"Bearer {service.key}",
        "Content-Type": "application/octet-stream",
    }

    def ask(_: int) -> tuple[int, str | None]:
        answer = requests.post(
            f"{service.url}/v1/embed?shape=64,224,224,3", data=body, headers=headers, timeout=60
        )
        return answer.status_code, answer.headers.get("Retry-After")

    with ThreadPoolExecutor(32) as threads:
        answers = Counter(threads.map(ask, range(64)))
    assert set(answers) == {(200, None), (503, "2")}, answers
    assert answers[200, None] >= 8
    assert service.client().ready()


def test_a_patient_crowd_is_served_in_the_end(service: Any) -> None:
    tiles = tiles_of(16)

    def ask(_: int) -> int:
        with service.client(attempts=20) as client:
            return len(client.embed(tiles))

    with ThreadPoolExecutor(24) as threads:
        assert list(threads.map(ask, range(48))) == [16] * 48
