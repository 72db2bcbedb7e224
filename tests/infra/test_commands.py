"""Every command that a manifest or the README gives is one that the command line takes."""

import importlib
import re
import shlex
from collections.abc import Iterator

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema
from rendering import INFRA, KUSTOMIZATIONS, Object

from jobs.cli import JOBS, main
from jobs.flags import parse
from jobs.submit import checked
from serve.settings import Access, Settings

README = INFRA / "README.md"


def blocks(text: str) -> Iterator[str]:
    """The commands of a Markdown page's shell blocks, continued lines joined."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line


def check(command: list[str]) -> None:
    """Parse a `pathray …` command as the command line would; raises what it would say."""
    assert command[0] == "pathray", command
    job, arguments = command[1], command[2:]
    if job not in JOBS:
        raise AssertionError(f"no job {job}")
    flags = parse(importlib.import_module(f"jobs.{job}").Flags, arguments, f"pathray {job}")
    if job == "submit":
        checked(flags.job, flags.flags)


def test_every_job_of_a_manifest_parses(all_objects: list[Object]) -> None:
    entrypoints = {e["spec"]["entrypoint"] for e in all_objects if e["kind"] == "RayJob"}
    assert len(entrypoints) >= 4
    for entrypoint in entrypoints:
        check(shlex.split(entrypoint))


def test_every_job_of_the_readme_parses() -> None:
    commands = [line for line in blocks(README.read_text()) if re.match(r"\s*pathray ", line)]
    assert len(commands) >= 4
    for line in commands:
        check(shlex.split(re.split(r"\s[|>]", line)[0]))


def test_a_renamed_flag_would_be_found() -> None:
    with pytest.raises(Exception, match="--tilesize"):
        check(shlex.split("pathray tile --slides a --out b --tilesize 224"))
    with pytest.raises(Exception, match="--tilesize"):
        check(shlex.split("pathray submit tile --address http://h -- --slides a --tilesize 224"))
    with pytest.raises(AssertionError, match="no job"):
        check(["pathray", "tilt"])


def test_the_ten_commands_are_ten() -> None:
    text = README.read_text()
    start = text.index("## From an empty cluster")
    first = text[start : text.index("```\n", text.index("```sh", start)) + 4]
    assert len(list(blocks(first))) == 10


@pytest.mark.parametrize("told", re.findall(r"<!-- (pathray estimate.*?) -->", README.read_text()))
def test_the_costs_of_the_readme_are_what_the_command_prints(
    told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(told)[1:]) == 0
    block = f"<!-- {told} -->\n`{told}`\n\n{capsys.readouterr().out.strip()}\n<!-- end -->"
    assert block in README.read_text()


def test_every_folder_that_the_readme_applies_is_one_that_is_tested() -> None:
    folders = set(re.findall(r"-k infra/([\w/-]+)", README.read_text()))
    assert folders
    assert folders <= {*KUSTOMIZATIONS, "monitoring"}


def test_labels_that_the_readme_selects_by_are_there(all_objects: list[Object]) -> None:
    chosen = re.findall(r" -l (\S+?)=(\S+)", README.read_text())
    assert chosen
    labels = [each["metadata"].get("labels", {}) for each in all_objects]
    for key, value in chosen:
        assert any(each.get(key) == value for each in labels), (key, value)


def test_the_endpoints_are_configured_as_the_application_wants(all_objects: list[Object]) -> None:
    services = [each for each in all_objects if each["kind"] == "RayService"]
    assert services
    for service in services:
        config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
        for application in config.applications:
            module, _, name = application.import_path.partition(":")
            assert callable(getattr(importlib.import_module(module), name))
            Settings.model_validate(application.args)
            for deployment in application.deployments:
                if deployment.name == "Ingress":
                    Access.model_validate(deployment.user_config)
