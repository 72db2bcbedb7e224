"""Manifests against the schemas of KubeRay and of Kubernetes."""

from collections.abc import Callable

import jsonschema
import kubernetes_validate
import pytest
import yaml
from rendering import CRDS, INFRA, KUSTOMIZATIONS, Object, strict

from jobs.cli import main

KUBERNETES = "1.33"


def test_every_object_of_kuberay_meets_its_schema(
    objects: list[Object], crd: Callable[[str], Object]
) -> None:
    found = [each for each in objects if each["kind"] in CRDS]
    assert found
    for each in found:
        jsonschema.Draft202012Validator(crd(each["kind"])).validate(each)


def test_every_other_object_meets_the_schema_of_kubernetes(all_objects: list[Object]) -> None:
    for each in all_objects:
        if each["kind"] not in CRDS:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_the_committed_manifests_are_what_is_rendered(
    folder: str,
    render: Callable[[str], list[Object]],
    render_now: Callable[[str], list[Object]],
) -> None:
    assert render(folder) == render_now(folder), "renew them: make manifests"


def test_dashboard_and_rules_become_config_maps(
    render_now: Callable[[str], list[Object]],
) -> None:
    maps = render_now("monitoring")
    for each in maps:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    assert {name for each in maps for name in each["data"]} == {"dashboard.json", "alerts.yaml"}


def test_a_misspelt_field_is_found(
    render: Callable[[str], list[Object]], crd: Callable[[str], Object]
) -> None:
    cluster = next(each for each in render("overlays/cpu") if each["kind"] == "RayCluster")
    pod = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    wrong = cluster | {"spec": cluster["spec"] | {"headGroupSpec": {
        "rayStartParams": {}, "template": {"spec": pod | {"serviceAcountName": "x"}}}}}  # fmt: skip
    with pytest.raises(jsonschema.ValidationError, match="serviceAcountName"):
        jsonschema.Draft202012Validator(crd("RayCluster")).validate(wrong)


def test_a_number_or_a_word_is_taken_where_either_may_stand() -> None:
    schema = strict({"anyOf": [{"type": "integer"}, {"type": "string"}], "type": "string",
                     "x-kubernetes-int-or-string": True})  # fmt: skip
    jsonschema.validate(3, schema)
    jsonschema.validate("3", schema)


def test_a_rendered_job_meets_the_schema(
    crd: Callable[[str], Object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "tile", "--render", "--", "--slides", "s3://b/", "--out", "o"]) == 0
    job = yaml.safe_load(capsys.readouterr().out)
    jsonschema.Draft202012Validator(crd("RayJob")).validate(job)
    assert len(job["metadata"]["name"]) <= 47


def test_every_file_of_a_folder_is_used() -> None:
    for kustomization in INFRA.rglob("kustomization.yaml"):
        told = kustomization.read_text()
        for file in kustomization.parent.glob("*.yaml"):
            assert file == kustomization or file.name in told, file


def test_all_overlays_hold_the_same_platform(render: Callable[[str], list[Object]]) -> None:
    names = [
        {(each["kind"], each["metadata"]["name"]) for each in render(f"overlays/{overlay}")}
        for overlay in ("cpu", "gpu", "aws")
    ]
    assert names[0] == names[1] == names[2]
    assert {("RayCluster", "pathray"), ("Deployment", "mlflow")} <= names[0]


def test_jobs_and_endpoints_are_applied_without_the_standing_cluster(
    render: Callable[[str], list[Object]],
) -> None:
    for overlay in ("cpu", "gpu", "aws"):
        jobs = {each["metadata"]["labels"]["pathray/job"]: each["kind"]
                for each in render(f"overlays/{overlay}/jobs")}  # fmt: skip
        assert jobs == dict.fromkeys(["tile", "embed", "pretrain", "finetune"], "RayJob")
        assert [each["kind"] for each in render(f"overlays/{overlay}/serve")] == ["RayService"]
