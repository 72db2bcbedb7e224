"""What no schema holds: KubeRay's own rules, pod security, what must fit together."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import yaml
from rendering import INFRA, Object, clusters, containers, groups, pods

UNITS = {"": 1, "m": 1e-3, "Mi": 2**20, "Gi": 2**30}


def amount(quantity: str) -> float:
    """A Kubernetes quantity as a number."""
    match = re.fullmatch(r"([\d.]+)(m|Mi|Gi|)", str(quantity))
    assert match, quantity
    return float(match[1]) * UNITS[match[2]]


def limits_of(group: Object) -> dict[str, str]:
    """The limits of a group's Ray container."""
    limits: dict[str, str] = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    return limits


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


# --- KubeRay's rules, as its operator checks them ---


def test_the_autoscaler_is_v2_and_pods_are_not_restarted_in_place(all_objects) -> None:
    for name, cluster in clusters(all_objects):
        assert cluster["enableInTreeAutoscaling"] is True
        assert cluster["autoscalerOptions"]["version"] == "v2"
        for group, spec in groups(cluster):
            assert spec["template"]["spec"]["restartPolicy"] == "Never", (name, group)


def test_resources_and_labels_are_not_given_twice(all_objects) -> None:
    ours = {"num-cpus", "num-gpus", "memory", "resources"}
    for name, cluster in clusters(all_objects):
        for group, spec in groups(cluster):
            started = spec["rayStartParams"]
            assert not (ours & set(started) and spec.get("resources")), (name, group)
            assert "labels" not in started


def test_a_job_has_its_own_cluster_or_a_selector_with_what_each_allows(all_objects) -> None:
    for job in of_kind(all_objects, "RayJob"):
        spec = job["spec"]
        assert ("rayClusterSpec" in spec) != ("clusterSelector" in spec)
        if "clusterSelector" in spec:
            assert not {"backoffLimit", "suspend"} & set(spec)
            assert spec["submissionMode"] != "SidecarMode"
        if spec["submissionMode"] == "SidecarMode":
            assert not {"submitterPodTemplate", "submitterConfig"} & set(spec)
        if spec["submissionMode"] == "InteractiveMode":
            assert not spec.get("backoffLimit")


def test_deletion_rules_exclude_the_older_settings_and_follow_each_other(all_objects) -> None:
    order = {"DeleteWorkers": 0, "DeleteCluster": 1, "DeleteSelf": 2}
    for job in of_kind(all_objects, "RayJob"):
        spec = job["spec"]
        assert not {"shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "suspend"} & set(spec)
        rules = spec["deletionStrategy"]["deletionRules"]
        assert set(spec["deletionStrategy"]) == {"deletionRules"}
        assert all(rule["policy"] != "DeleteWorkers" for rule in rules), "not with autoscaling"
        by_status: dict[Any, list[Any]] = {}
        for rule in rules:
            when = rule["condition"]
            assert len({"jobStatus", "jobDeploymentStatus"} & set(when)) == 1
            status = when.get("jobStatus") or when["jobDeploymentStatus"]
            by_status.setdefault(status, []).append((order[rule["policy"]], when["ttlSeconds"]))
        assert {"SUCCEEDED", "FAILED", "Failed"} == set(by_status)
        for steps in by_status.values():
            assert max(Counter(policy for policy, _ in steps).values()) == 1
            delays = [ttl for _, ttl in sorted(steps)]
            assert delays == sorted(delays)


def test_names_are_short_enough_for_what_kuberay_makes_of_them(all_objects) -> None:
    for each in of_kind(all_objects, "RayCluster", "RayJob", "RayService"):
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", each["metadata"]["name"])


def test_fault_tolerance_is_set_in_one_way(all_objects) -> None:
    for name, cluster in clusters(all_objects):
        (head, *_) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
        set_by_hand = {variable["name"] for variable in head.get("env", [])}
        assert not {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"} & set_by_hand
        keeps_state = not name.startswith("RayJob")
        assert ("gcsFaultToleranceOptions" in cluster) == keeps_state, name


def test_a_token_is_wanted_everywhere_and_ray_is_new_enough_for_it(all_objects) -> None:
    for _, cluster in clusters(all_objects):
        assert cluster["authOptions"] == {"mode": "token", "secretName": "pathray-token"}
        assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0)


def test_the_clusters_run_the_ray_of_the_lock_file(all_objects) -> None:
    lock = (INFRA.parent / "requirements.lock").read_text()
    (locked,) = re.findall(r"^ray==(\S+)$", lock, re.MULTILINE)
    assert {cluster["rayVersion"] for _, cluster in clusters(all_objects)} == {locked}


def test_endpoints_are_upgraded_by_a_second_cluster(all_objects) -> None:
    from ray.serve.schema import ServeDeploySchema

    for service in of_kind(all_objects, "RayService"):
        spec = service["spec"]
        assert spec["upgradeStrategy"] == {"type": "NewCluster"}
        assert spec["rayClusterDeletionDelaySeconds"] >= 60
        (app,) = ServeDeploySchema(**yaml.safe_load(spec["serveConfigV2"])).applications
        assert app.import_path == "serve.app:build"


def test_the_encoder_of_the_endpoints_asks_for_a_gpu_where_there_are_machines_with_some(
    all_objects,
) -> None:
    found = set()
    for service in of_kind(all_objects, "RayService"):
        (app,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
        asked = {d["name"]: d.get("ray_actor_options", {}) for d in app["deployments"]}
        gpus = [
            group["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
            for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        ]
        assert bool(asked.get("Encoder", {}).get("num_gpus")) == any(gpus)
        found.add(any(gpus))
    assert found == {True, False}


# --- Kubernetes' logical resources and Ray's ---


def test_a_pod_asks_for_what_ray_will_believe_it_has(all_objects) -> None:
    """KubeRay tells Ray the limits of the first container, CPUs rounded up."""
    for name, cluster in clusters(all_objects):
        for group, spec in groups(cluster):
            resources = spec["template"]["spec"]["containers"][0]["resources"]
            asked, limits = resources["requests"], resources["limits"]
            where = (name, group)
            assert asked["memory"] == limits["memory"], where
            assert asked.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu"), where
            if group == "head":
                assert spec["rayStartParams"] == {"num-cpus": "0"}, where
                continue
            logical = spec["rayStartParams"].get("num-cpus") or math.ceil(amount(limits["cpu"]))
            assert float(logical) == amount(asked["cpu"]) == amount(limits["cpu"]), where
            gpus = spec["rayStartParams"].get("num-gpus", limits.get("nvidia.com/gpu", "0"))
            assert gpus == limits.get("nvidia.com/gpu", "0"), where


def test_a_worker_can_hold_the_largest_task(all_objects) -> None:
    from jobs.pipeline import READ_CPUS

    for _, cluster in clusters(all_objects):
        for group in cluster["workerGroupSpecs"]:
            limits = limits_of(group)
            assert amount(limits["cpu"]) >= READ_CPUS
            # Two readers a CPU hold a piece of 512 tiles each, beside Ray's object store.
            assert amount(limits["memory"]) / amount(limits["cpu"]) >= 2 * 2**30


def test_a_full_cache_of_slides_does_not_get_a_worker_evicted(all_objects) -> None:
    from jobs.tilingflags import TilingFlags

    cache = TilingFlags.model_fields["cache_gb"].default * 1e9
    for _, cluster in clusters(all_objects):
        for group in cluster["workerGroupSpecs"]:
            # Beside it Ray writes what does not fit into memory.
            assert amount(limits_of(group)["ephemeral-storage"]) >= 1.5 * cache


def test_a_job_asks_for_no_more_gpus_than_its_cluster_can_have(all_objects) -> None:
    for job in of_kind(all_objects, "RayJob"):
        cluster = job["spec"]["rayClusterSpec"]
        most = sum(
            group["maxReplicas"] * int(limits_of(group).get("nvidia.com/gpu", 0))
            for group in cluster["workerGroupSpecs"]
        )
        words = shlex.split(job["spec"]["entrypoint"])
        flags = dict(pairwise(words))
        wanted = max(
            int(flags.get("--num-encoders", 0)) * float(flags.get("--gpus-per-encoder", 0)),
            int(flags.get("--num-workers", 0)) if flags.get("--device") == "cuda" else 0,
        )
        assert wanted <= most
        if most and job["metadata"]["labels"]["pathray/job"] in ("embed", "pretrain"):
            assert wanted, "a cluster that starts from no nodes has no GPU that a job could count"


def test_groups_start_from_nothing_and_end_somewhere(all_objects) -> None:
    for _, cluster in clusters(all_objects):
        for group in cluster["workerGroupSpecs"]:
            assert group["minReplicas"] == group["replicas"] == 0
            assert 0 < group["maxReplicas"] <= 100


# --- pod security, secrets ---


def test_every_pod_is_restricted(all_objects) -> None:
    for name, pod in pods(all_objects):
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for volume in spec.get("volumes", []):
            assert set(volume) - {"name"} <= {"emptyDir", "configMap", "secret", "projected"}, name
        for container in containers(pod):
            assert restricted(container["securityContext"]), (name, container["name"])


def restricted(context: Object) -> bool:
    return (
        context["allowPrivilegeEscalation"] is False
        and context["capabilities"] == {"drop": ["ALL"]}
        and context["readOnlyRootFilesystem"] is True
        and "privileged" not in context
    )


def test_the_autoscaler_that_kuberay_adds_is_restricted_too(all_objects) -> None:
    for name, cluster in clusters(all_objects):
        assert restricted(cluster["autoscalerOptions"]["securityContext"]), name


def test_a_read_only_container_has_places_to_write(all_objects) -> None:
    for name, pod in pods(all_objects):
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        for container in containers(pod):
            mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            if container["image"].startswith("pathray:"):
                assert {"/tmp", "/home/pathray"} <= set(mounted), name
            if not name.startswith("StatefulSet"):
                assert set(mounted.values()) <= volumes, name


def test_the_namespace_enforces_it(render: Callable[[str], list[Object]]) -> None:
    (namespace,) = of_kind(render("overlays/cpu"), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_only_the_head_gets_a_token_of_kubernetes(all_objects) -> None:
    accounts = {each["metadata"]["name"]: each for each in of_kind(all_objects, "ServiceAccount")}
    for name, pod in pods(all_objects):
        account = pod["spec"].get("serviceAccountName", "")
        assert not account or account in accounts, name
        automatic = pod["spec"].get(
            "automountServiceAccountToken",
            accounts.get(account, {}).get("automountServiceAccountToken", True),
        )
        assert automatic is name.endswith(" head"), name


def test_secrets_are_named_and_never_written(all_objects) -> None:
    assert not of_kind(all_objects, "Secret")
    for name, pod in pods(all_objects):
        for container in containers(pod):
            for variable in container.get("env", []):
                secret = re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", variable["name"])
                assert not secret or "secretKeyRef" in variable["valueFrom"], name
    for settings in of_kind(all_objects, "ConfigMap"):
        assert not [key for key in settings["data"] if re.search("PASSWORD|SECRET|TOKEN", key)]


def test_every_secret_that_is_named_is_made_by_the_script(all_objects) -> None:
    named = set(re.findall(r"'name': '(pathray-\w+)'", str(of_references(all_objects))))
    named |= {cluster["authOptions"]["secretName"] for _, cluster in clusters(all_objects)}
    made = set(re.findall(r"create secret generic (\S+)", (INFRA / "secrets.sh").read_text()))
    assert named == made


def of_references(node: Any) -> list[Any]:
    """All secretRef and secretKeyRef of a tree."""
    if isinstance(node, list):
        return [found for each in node for found in of_references(each)]
    if not isinstance(node, dict):
        return []
    here = [value for key, value in node.items() if key in ("secretRef", "secretKeyRef")]
    return here + [found for value in node.values() for found in of_references(value)]


def test_on_aws_no_pod_reads_keys(render: Callable[[str], list[Object]]) -> None:
    for part in ("", "/jobs", "/serve"):
        objects = render(f"overlays/aws{part}")
        assert "pathray-store" not in str(objects)
    accounts = of_kind(render("overlays/aws"), "ServiceAccount")
    assert all("eks.amazonaws.com/role-arn" in a["metadata"]["annotations"] for a in accounts)


# --- networks, disruptions, preemption ---


def selects(selector: Object, labels: Object) -> bool:
    """Whether a label selector of Kubernetes takes these labels."""
    wanted = selector.get("matchLabels", {})
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return all(labels.get(key) == value for key, value in wanted.items())


def test_nothing_talks_unless_it_is_allowed(render: Callable[[str], list[Object]]) -> None:
    policies = {p["metadata"]["name"]: p["spec"] for p in
                of_kind(render("overlays/cpu"), "NetworkPolicy")}  # fmt: skip
    deny = policies["deny-by-default"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_every_service_is_reached_by_those_who_use_it(all_objects, render) -> None:
    platform = render("overlays/cpu")
    policies = [policy["spec"] for policy in of_kind(platform, "NetworkPolicy")]
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(all_objects)}
    ray = next(labels[name] for name in labels if name.endswith(" cpu"))
    users = {"redis": ray, "mlflow": ray, "postgres": labels["Deployment/mlflow"]}
    for service in of_kind(platform, "Service"):
        name, (port,) = service["metadata"]["name"], service["spec"]["ports"]
        target = {"app.kubernetes.io/name": name}
        user = users[name]
        into = [rule for p in policies if selects(p["podSelector"], target)
                for rule in p.get("ingress", [])]  # fmt: skip
        out = [rule for p in policies if selects(p["podSelector"], user)
               for rule in p.get("egress", [])]  # fmt: skip
        assert any(allows(rule, "from", user, port["port"]) for rule in into), name
        assert any(allows(rule, "to", target, port["port"]) for rule in out), name


def allows(rule: Object, side: str, labels: Object, port: int) -> bool:
    peers = [peer for peer in rule[side] if set(peer) == {"podSelector"}]
    ports = [each["port"] for each in rule.get("ports", [])]
    return (not ports or port in ports) and any(selects(p["podSelector"], labels) for p in peers)


def test_every_pod_of_ray_is_under_the_policies_of_ray(all_objects) -> None:
    for name, pod in pods(all_objects):
        labels = pod["metadata"]["labels"]
        if name.startswith("Ray"):
            assert labels["app.kubernetes.io/part-of"] == "pathray", name
        if name.startswith("Ray") and not name.endswith("submitter"):
            assert labels["pathray/outside"] == "true", name


def test_budgets_are_of_the_form_that_pods_of_kuberay_allow(render) -> None:
    """Without a controller that can be scaled only whole minAvailable are taken."""
    for budget in of_kind(render("overlays/cpu"), "PodDisruptionBudget"):
        assert isinstance(budget["spec"]["minAvailable"], int)
        assert "maxUnavailable" not in budget["spec"]


def test_heads_are_not_evicted_by_autoscalers_of_machines(all_objects) -> None:
    for _, cluster in clusters(all_objects):
        told = cluster["headGroupSpec"]["template"]["metadata"]["annotations"]
        assert told["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        assert told["karpenter.sh/do-not-disrupt"] == "true"


def test_a_preempted_worker_is_drained_before_its_pod_is_killed(all_objects) -> None:
    import jobs.drain

    for name, cluster in clusters(all_objects):
        for group in cluster["workerGroupSpecs"]:
            pod = group["template"]["spec"]
            (container,) = pod["containers"]
            command = container["lifecycle"]["preStop"]["exec"]["command"]
            assert command[:3] == ["python", "-m", jobs.drain.__name__], name
            seconds = int(command[command.index("--seconds") + 1])
            assert seconds < pod["terminationGracePeriodSeconds"], name
            assert container["env"][0]["name"] == "POD_IP"


def test_what_must_stay_is_not_on_machines_that_may_be_taken_away(render) -> None:
    for part, spot in (("", "RayCluster/pathray"), ("/jobs", "RayJob"), ("/serve", "no pod")):
        for name, pod in pods(render(f"overlays/aws{part}")):
            may_go = name.startswith(spot) and name.endswith((" cpu", " gpu"))
            chosen = pod["spec"].get("nodeSelector", {}).get("karpenter.sh/capacity-type")
            if not name.endswith("submitter"):
                assert chosen == ("spot" if may_go else "on-demand"), name


def test_a_store_with_one_pod_is_not_drained_by_surprise(render) -> None:
    objects = render("overlays/cpu")
    budgets = [budget["spec"]["selector"] for budget in of_kind(objects, "PodDisruptionBudget")]
    for store in of_kind(objects, "StatefulSet"):
        labels = store["spec"]["template"]["metadata"]["labels"]
        assert any(selects(budget, labels) for budget in budgets), store["metadata"]["name"]


def test_a_store_that_recovers_is_not_killed(render) -> None:
    """Recovery may take longer than any probe waits; the port answers meanwhile."""
    for store in of_kind(render("overlays/cpu"), "StatefulSet"):
        (container,) = store["spec"]["template"]["spec"]["containers"]
        assert "tcpSocket" in container["livenessProbe"], store["metadata"]["name"]


# --- endpoints beside other work ---


def test_endpoints_do_not_give_way_and_batch_work_does(all_objects) -> None:
    for name, cluster in clusters(all_objects):
        for group in cluster["workerGroupSpecs"]:
            (container,) = group["template"]["spec"]["containers"]
            told = {variable["name"]: variable.get("value") for variable in container["env"]}
            assert told["RAY_worker_niceness"] == ("0" if name.startswith("RayService") else "15")
