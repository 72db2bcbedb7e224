"""The configuration file: what is shipped is valid, what is wrong is said in one line."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import serve.app
from jobs.cli import main
from jobs.serve import read_config
from pathray.errors import RequestError
from serve.deployments import Encoder, Ingress, SlidePredictor, SlideSquares, SlideWorker
from serve.settings import Settings

SHIPPED = Path(serve.app.__file__).with_name("serve.yaml")


@pytest.fixture
def content() -> dict[str, Any]:
    return yaml.safe_load(SHIPPED.read_text())


def test_the_shipped_file_is_what_ray_and_the_application_read(content: dict[str, Any]) -> None:
    config = read_config(content, None, None)
    assert config.http_options.host == "127.0.0.1"
    Settings.model_validate(config.applications[0].args)


def test_flags_win_over_the_file(content: dict[str, Any]) -> None:
    config = read_config(content, "0.0.0.0", 9000)
    assert (config.http_options.host, config.http_options.port) == ("0.0.0.0", 9000)


def test_without_a_host_it_listens_on_this_machine_alone(content: dict[str, Any]) -> None:
    del content["http_options"]
    assert read_config(content, None, None).http_options.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"encoder": {"name": "mean_rgb", "batch_sise": 3}}, "batch_sise"),
        ({"slides": "s3://bucket"}, "slides"),
        ({"models": {"../a": "x"}}, "models"),
        ({"slides": ["relative/folder"]}, "neither an absolute path"),
    ],
)
def test_a_wrong_setting_is_named(
    content: dict[str, Any], change: dict[str, Any], told: str
) -> None:
    content["applications"][0]["args"] |= change
    with pytest.raises(RequestError, match=told):
        read_config(content, None, None)


def test_an_import_path_that_is_not_there_is_named(content: dict[str, Any]) -> None:
    content["applications"][0]["import_path"] = "serve.nothing:build"
    with pytest.raises(RequestError, match="import_path"):
        read_config(content, None, None)


def test_the_command_wants_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["serve"]) == 2
    assert "--config" in capsys.readouterr().err
    (tmp_path / "a.yaml").write_text("applications: 3")
    assert main(["serve", "--config", str(tmp_path / "a.yaml")]) == 2
    assert "applications" in capsys.readouterr().err


def test_haproxy_is_not_chosen_for_nodes_that_run_already(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert main(["serve", "--config", str(SHIPPED), "--haproxy"]) == 2
    assert "RAY_SERVE_ENABLE_HA_PROXY=1" in capsys.readouterr().err


def test_all_deployments_fit_on_a_laptop_of_two_cpus() -> None:
    parts = (Encoder, SlidePredictor, SlideSquares, SlideWorker, Ingress)
    assert sum(part.ray_actor_options["num_cpus"] for part in parts) <= 2
