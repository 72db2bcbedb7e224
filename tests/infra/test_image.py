"""The Dockerfile, as far as a machine without an engine can follow it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from rendering import INFRA, ROOT

from jobs.cli import JOBS

DOCKERFILE = INFRA / "Dockerfile"


def instructions(name: str) -> list[str]:
    """What follows each `name` in the Dockerfile, comments out and continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [match.strip() for match in re.findall(rf"^{name}\s(.*)$", text, re.MULTILINE)]


def step(wanted: str) -> list[str]:
    """The words of the one install step that has `wanted` in it."""
    (found,) = [run for run in instructions("RUN") if "uv pip install" in run and wanted in run]
    return shlex.split(found[found.index("uv pip install") :])


def copy_sources(folder: Path) -> None:
    """What the build stage copies, where it copies it."""
    for copied in instructions("COPY"):
        *sources, target = [word for word in copied.split() if not word.startswith("--")]
        if "--from=" in copied:
            continue
        for source in sources:
            where = folder / target
            if (ROOT / source).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(ROOT / source, where, ignore=ignore)
            else:
                shutil.copy(ROOT / source, where)


def tool(name: str) -> str:
    """A program of this environment, or of the machine."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which(name, path=path)
    assert found, f"{name} is not installed"
    return found


def environment(folder: Path) -> dict[str, str]:
    """As in the build: an environment to install into, and none of this checkout's code."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"VIRTUAL_ENV": str(folder / "venv")}


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(
        [tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_image_is_not_roots_and_pins_what_it_installs() -> None:
    (user,) = instructions("USER")
    assert int(user) > 0
    assert "--constraint requirements.lock" in " ".join(step("--requirement"))
    assert "TORCH_BACKEND=cpu" in instructions("ARG")
    assert instructions("HEALTHCHECK")


def test_the_image_has_the_python_that_the_project_is_tested_with() -> None:
    (version,) = [arg.split("=")[1] for arg in instructions("ARG") if arg.startswith("PYTHON=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={version}"


def test_only_what_is_copied_is_sent_to_the_engine() -> None:
    allowed = {
        line[1:]
        for line in (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        word for line in instructions("COPY") if "--from=" not in line for word in line.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.slow
def test_the_packages_of_the_image_resolve_to_the_versions_of_the_lock(tmp_path: Path) -> None:
    """A dry run on this machine's index: nothing is fetched but what names the packages."""
    copy_sources(tmp_path)
    venv.create(tmp_path / "venv", with_pip=False)
    words = step("--requirement")
    done = subprocess.run(
        [tool("uv"), "pip", "install", "--dry-run", *words[3:]],
        cwd=tmp_path, env=environment(tmp_path),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    chosen = dict(re.findall(r"^ \+ ([\w.-]+)==(\S+)$", done.stderr, re.MULTILINE))
    lock = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M))
    assert {"ray", "torch", "mlflow", "psycopg2-binary", "boto3"} <= set(chosen)
    assert not {"pytest", "ruff", "moto"} & set(chosen)
    assert {name: lock.get(name) for name in chosen} == {
        name: version.split("+")[0] for name, version in chosen.items()
    }


@pytest.mark.slow
def test_the_projects_code_installs_beside_its_packages_and_every_job_starts(
    tmp_path: Path,
) -> None:
    copy_sources(tmp_path)
    venv.create(tmp_path / "venv", with_pip=False)
    code = tmp_path / "code"
    words = [str(code) if word == "/opt/code" else word for word in step("--target")]
    done = subprocess.run(
        [tool("uv"), *words[1:]], cwd=tmp_path, env=environment(tmp_path),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (code / "bin" / "pathray").exists()
    script = f"""
import jobs, pathray, serve
from jobs.cli import JOBS, main
assert list(JOBS) == {list(JOBS)}
print(jobs.__path__[0], pathray.__path__[0], serve.__path__[0])
for job in JOBS:
    try:
        main([job, "--help"])
    except SystemExit as end:
        assert end.code == 0, job
main(["encoders"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "venv", capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(code)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(path.startswith(str(code)) for path in done.stdout.splitlines()[0].split())
