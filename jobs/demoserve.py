"""The demo's endpoints: what it learned, served on this machine, with one slide predicted."""

from pathlib import Path
from typing import Any

from pathray.client import Client

PORT = 8000


def config_of(folder: Path) -> dict[str, Any]:
    """A Serve config file for the demo's encoder and slide models, on loopback, without keys."""
    own = {
        "encoder": {"name": str(folder / "pretraining" / "run" / "encoder")},
        "models": {
            name: str(folder / "models" / name / "model") for name in ("subtype", "survival")
        },
        "slides": [str(folder / "slides")],
        "embeddings": [str(folder / "pretraining" / "embeddings")],
        "results": str(folder / "served"),
    }
    # Parts of a CPU: on two, all of them find a place beside each other.
    names = ("Ingress", "Encoder", "SlidePredictor", "SlideWorker", "SlideSquares")
    deployments = [{"name": name, "ray_actor_options": {"num_cpus": 0.2}} for name in names]
    application = {
        "name": "pathray",
        "import_path": "serve.app:build",
        "args": own,
        "deployments": deployments,
    }
    return {"applications": [application]}


def serve_demo(folder: Path, port: int = PORT) -> int:
    """Bring the endpoints up, predict a slide through them, stay until interrupted."""
    import yaml

    from jobs.cluster import connected
    from jobs.serve import read_config, running, until_stopped

    content = config_of(folder)
    (folder / "serve.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    config = read_config(content, None, port)
    address = f"http://127.0.0.1:{port}"
    with connected(), running(config):
        print(f"\n$ pathray serve --config {folder / 'serve.yaml'}\nserving on {address}")
        with Client(address) as client:
            for model in ("subtype", "survival"):
                _predict(client, model, next(iter(sorted((folder / "slides").glob("*.tif")))))
        print(f"\nopen {address} in a browser  (stop with Ctrl-C)", flush=True)
        until_stopped()
    return 0


def _predict(client: Client, model: str, slide: Path) -> None:
    record = client.wait(client.predict_slide(str(slide), model=model)["id"])
    result = record["result"]
    if result["classification"]:
        found = result["classification"]
        told = ", ".join(f"{c['name']} {c['probability']:.2f}" for c in found["classes"])
    else:
        found = result["survival"]
        told = f"risk {found['risk']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    print(f"{slide.name}: {model}: {told}  ({result['tiles']} tiles)")
