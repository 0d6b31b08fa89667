"""The manifests as kubectl renders them, against the schemas of Kubernetes and KEDA."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication
from rq.queue import Queue

from app.auth.key_file import key_file
from cdvae_schema.wire import LEASES_KEY, QUEUES

ROOT = Path(__file__).parents[2]
KUBECTL = Path(sys.executable).with_name("kubectl")  # from its wheel
KEDA = {"ScaledObject": ScaledObject, "TriggerAuthentication": TriggerAuthentication}

Manifest = dict[str, Any]


@pytest.fixture(scope="module", params=["base", "gpu"])
def rendered(request: pytest.FixtureRequest) -> list[Manifest]:
    """Everything that `kubectl apply -k` would send."""
    ended = subprocess.run(
        [str(KUBECTL), "kustomize", request.param],
        cwd=ROOT / "deploy" / "kubernetes",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return list(yaml.safe_load_all(ended.stdout))


def named(rendered: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [m for m in rendered if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def pods(rendered: list[Manifest]) -> list[Manifest]:
    """The pod specifications of everything that runs."""
    kinds = ("Deployment", "StatefulSet")
    return [m["spec"]["template"]["spec"] for m in rendered if m["kind"] in kinds]


def check(manifest: Manifest) -> None:
    """Raises for what does not fit the schema of its kind."""
    keda = KEDA.get(manifest["kind"])
    if keda is None:
        kubernetes_validate.validate(manifest, "1.37", strict=True)
    else:
        # The model drops what it does not know, so an unknown field would be missing here.
        known = keda.model_validate(manifest)
        assert known.model_dump(mode="json", by_alias=True, exclude_unset=True) == manifest


def test_every_manifest_fits_its_schema(rendered: list[Manifest]) -> None:
    for manifest in rendered:
        check(manifest)


@pytest.mark.parametrize(
    ("kind", "name", "unknown"),
    [("Deployment", "app", "replica"), ("ScaledObject", "worker", "minReplica")],
)
def test_the_schema_check_can_fail(
    rendered: list[Manifest], kind: str, name: str, unknown: str
) -> None:
    manifest = named(rendered, kind, name)
    manifest = {**manifest, "spec": {**manifest["spec"], unknown: 2}}
    with pytest.raises((kubernetes_validate.ValidationError, AssertionError)):
        check(manifest)


def test_prometheus_finds_the_pods(rendered: list[Manifest]) -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus-kubernetes.yml").read_text())
    single = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) | {"prometheus"} == {job["job_name"] for job in single["scrape_configs"]}
    for name, job in jobs.items():
        label, port = job["relabel_configs"][0]["regex"].split(";")
        template = named(rendered, "Deployment", name.removeprefix("cdvae-"))["spec"]["template"]
        assert template["metadata"]["labels"]["app.kubernetes.io/name"] == label
        ports = [one["name"] for one in template["spec"]["containers"][0]["ports"]]
        assert ports == [port]
        namespace = named(rendered, "Namespace", "cdvae")["metadata"]["name"]
        assert job["kubernetes_sd_configs"][0]["namespaces"]["names"] == [namespace]


def test_nothing_runs_with_privileges_or_without_requests(rendered: list[Manifest]) -> None:
    assert len(pods(rendered)) == 3
    for pod in pods(rendered):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
            assert {"readinessProbe", "livenessProbe"} <= set(container)
            assert ":" in container["image"]


def test_user_ports_and_folders_are_those_of_the_images(rendered: list[Manifest]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name, port in (("app", 8000), ("worker", 9464)):
        pod = named(rendered, "Deployment", name)["spec"]["template"]["spec"]
        user = pod["securityContext"]["runAsUser"]
        assert f"USER {user}:" in dockerfile
        (container,) = pod["containers"]
        assert [one["containerPort"] for one in container["ports"]] == [port]
        assert f"EXPOSE {port}" in dockerfile
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        home = re.search(r"CDVAE_HOME=(\S+)", dockerfile)
        assert home is not None
        assert {home[1], "/tmp"} <= mounted


def test_the_worker_outlives_its_grace(rendered: list[Manifest]) -> None:
    pod = named(rendered, "Deployment", "worker")["spec"]["template"]["spec"]
    (grace,) = [e["value"] for e in pod["containers"][0]["env"] if e["name"].endswith("_GRACE")]
    assert pod["terminationGracePeriodSeconds"] > int(grace) + 30


def test_selectors_find_their_pods(rendered: list[Manifest]) -> None:
    labels = [
        m["spec"]["template"]["metadata"]["labels"]
        for m in rendered
        if m["kind"] in ("Deployment", "StatefulSet")
    ]
    for manifest in rendered:
        if manifest["kind"] == "Service":
            selector = manifest["spec"]["selector"]
        elif manifest["kind"] == "PodDisruptionBudget":
            selector = manifest["spec"]["selector"]["matchLabels"]
        elif manifest["kind"] == "NetworkPolicy":
            selector = manifest["spec"]["podSelector"].get("matchLabels", {})
        else:
            continue
        found = [one for one in labels if selector.items() <= one.items()]
        assert len(found) == (3 if manifest["metadata"]["name"] == "default-deny" else 1)


def test_scaling_counts_every_queue_and_what_runs(rendered: list[Manifest]) -> None:
    scaled = named(rendered, "ScaledObject", "worker")["spec"]
    assert named(rendered, "Deployment", scaled["scaleTargetRef"]["name"])
    assert "replicas" not in named(rendered, "Deployment", "worker")["spec"]
    lists = {trigger["metadata"]["listName"] for trigger in scaled["triggers"]}
    waiting = {f"{Queue.redis_queue_namespace_prefix}{queue}" for queue in QUEUES}
    assert lists == waiting | {LEASES_KEY}
    names = {trigger["name"] for trigger in scaled["triggers"]}
    formula = scaled["advanced"]["scalingModifiers"]["formula"]
    assert set(formula.split(" + ")) == names
    for trigger in scaled["triggers"]:
        reference = trigger["authenticationRef"]["name"]
        assert named(rendered, "TriggerAuthentication", reference)


def test_the_front_end_starts_with_keys_alone(rendered: list[Manifest]) -> None:
    """Other pods reach it, so it must not be told to answer everybody."""
    pod = named(rendered, "Deployment", "app")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert not [e for e in container["env"] if e["name"] == "CDVAE_ALLOW_ANONYMOUS"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    (secret,) = [volume for volume in pod["volumes"] if "secret" in volume]
    file = mounts[secret["name"]]
    assert file["readOnly"] is True
    assert file["mountPath"] == str(key_file(Path(mounts["home"]["mountPath"])).path)
    assert file["subPath"] == Path(file["mountPath"]).name


def test_a_gpu_is_asked_for_where_there_is_one(rendered: list[Manifest]) -> None:
    pod = named(rendered, "Deployment", "worker")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    gpu = container["image"].endswith("-gpu")
    assert container["resources"]["limits"].get("nvidia.com/gpu") == (1 if gpu else None)
    assert bool(pod.get("tolerations")) is gpu


def test_one_secret_holds_the_password(rendered: list[Manifest]) -> None:
    assert not [m for m in rendered if m["kind"] == "Secret"]  # none lies in a file
    text = yaml.safe_dump_all(rendered)
    assert set(re.findall(r"name: (\S*redis\S*)\n", text)) == {"cdvae-redis", "redis"}
