"""Fixtures for all tests."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest

PLUGINS = Path(__file__).parent / "plugins"
# Before Ray or fsspec are imported: workers inherit the environment of the test process.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PLUGINS), os.getenv("PYTHONPATH")]))
sys.path.insert(0, str(PLUGINS))
# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("pathray", deadline=None)
hypothesis.settings.load_profile("pathray")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real slides and reference data, never committed."""
    folder = Path(
        os.environ.get("PATHRAY_SHARED") or Path(__file__).resolve().parents[2] / "shared"
    )
    if not folder.is_dir():
        message = f"no shared data at {folder}; set PATHRAY_SHARED"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder
