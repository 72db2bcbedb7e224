"""The endpoints that the demo ends with are configured as the application wants."""

from pathlib import Path

import yaml

from jobs.demoserve import config_of
from jobs.serve import read_config


def test_the_demo_serves_what_it_learned_on_loopback_alone(tmp_path: Path) -> None:
    content = yaml.safe_load(yaml.safe_dump(config_of(tmp_path)))
    config = read_config(content, None, 8123)
    assert config.http_options.host == "127.0.0.1"
    (application,) = config.applications
    assert set(application.args["models"]) == {"subtype", "survival"}
    opened = [*application.args["slides"], *application.args["embeddings"]]
    assert all(Path(prefix).is_relative_to(tmp_path) for prefix in opened)
