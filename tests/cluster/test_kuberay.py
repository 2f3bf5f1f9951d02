"""cluster/kuberay: the manifests keep the rules of KubeRay and raykd, and each rule refuses a broken one."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kuberay_rules import RULES, Manifests, bytes_of, violations
from ray.autoscaler._private.kuberay import autoscaling_config

from raykd import config as configuration

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kuberay"


def pinned_ray() -> str:
    match = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert match
    return match[1]


@pytest.fixture
def manifests() -> Manifests:
    documents = [
        document
        for path in sorted(FOLDER.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    # YAML's aliases are one object: a change would be one of all places.
    return Manifests(copy.deepcopy([yaml.safe_load(yaml.dump(d, Dumper=_NoAliases)) for d in documents]), pinned_ray())


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def cluster(manifests: Manifests) -> dict[str, Any]:
    return manifests.of("RayCluster")[0]["spec"]


def teacher(manifests: Manifests) -> dict[str, Any]:
    return cluster(manifests)["workerGroupSpecs"][0]


def pod(manifests: Manifests) -> dict[str, Any]:
    return teacher(manifests)["template"]["spec"]


def container(manifests: Manifests) -> dict[str, Any]:
    return pod(manifests)["containers"][0]


def job(manifests: Manifests) -> dict[str, Any]:
    return manifests.of("RayJob")[0]["spec"]


def second(manifests: Manifests) -> dict[str, Any]:
    return cluster(manifests)["autoscalerOptions"]


Change = Callable[[Manifests], Any]
BROKEN: list[tuple[str, str, Change]] = [
    ("known_kinds", "alpha", lambda m: m.of("RayJob")[0].update(apiVersion="ray.io/v1alpha1")),
    ("known_kinds", "cron job", lambda m: m.of("RayJob")[0].update(kind="RayCronJob")),
    ("known_keys", "typing error", lambda m: teacher(m).update(minReplica=1)),
    ("known_keys", "alpha", lambda m: cluster(m).update(networkPolicy={})),
    ("known_keys", "rocksdb", lambda m: cluster(m).update(gcsFaultToleranceOptions={"backend": "rocksdb"})),
    ("known_keys", "job", lambda m: job(m).update(entryPoint="raykd")),
    ("required_keys", "group", lambda m: teacher(m).pop("maxReplicas")),
    ("required_keys", "container", lambda m: pod(m).update(containers=[])),
    ("required_keys", "entrypoint", lambda m: job(m).pop("entrypoint")),
    ("names", "cluster too long", lambda m: m.of("RayCluster")[0]["metadata"].update(name="r" * 54)),
    ("names", "job too long", lambda m: m.of("RayJob")[0]["metadata"].update(name="r" * 48)),
    ("names", "not a label", lambda m: m.of("RayJob")[0]["metadata"].update(name="Reviews_1")),
    ("versions", "rayVersion", lambda m: cluster(m).update(rayVersion="2.59.0")),
    ("versions", "tag", lambda m: container(m).update(image="registry.example.com/raykd:2.59.0-py311-gpu")),
    ("versions", "cpu image on GPUs", lambda m: container(m).update(image=container(m)["image"][:-3] + "cpu")),
    ("replicas", "least above most", lambda m: teacher(m).update(minReplicas=9)),
    ("replicas", "negative", lambda m: teacher(m).update(minReplicas=-1)),
    ("replicas", "outside", lambda m: teacher(m).update(replicas=9)),
    ("labels", "rayStartParams", lambda m: teacher(m).update(rayStartParams={"labels": "a=b"})),
    ("labels", "syntax", lambda m: teacher(m).update(labels={"raykd role": "teacher"})),
    ("resources_once", "both", lambda m: teacher(m).update(rayStartParams={"num-cpus": "8"})),
    ("resources_once", "number", lambda m: teacher(m)["resources"].update(CPU=8)),
    ("gpus", "requests", lambda m: container(m)["resources"]["requests"].pop("nvidia.com/gpu")),
    ("gpus", "Ray's", lambda m: teacher(m)["resources"].update(GPU="2")),
    ("authentication", "none", lambda m: cluster(m).pop("authOptions")),
    ("authentication", "disabled", lambda m: cluster(m)["authOptions"].update(mode="disabled")),
    ("authentication", "too old", lambda m: cluster(m).update(rayVersion="2.51.1")),
    ("autoscaler", "off", lambda m: cluster(m).pop("enableInTreeAutoscaling")),
    ("autoscaler", "restart", lambda m: pod(m).update(restartPolicy="Always")),
    ("autoscaler", "v1", lambda m: [second(m).update(version="v1"), teacher(m).update(priority=1)]),
    ("volumes", "missing", lambda m: pod(m)["volumes"].pop(1)),
    ("shared_memory", "on disk", lambda m: pod(m)["volumes"][0].update(emptyDir={})),
    ("shared_memory", "not mounted", lambda m: container(m)["volumeMounts"].pop(0)),
    ("shared_memory", "all memory", lambda m: pod(m)["volumes"][0]["emptyDir"].update(sizeLimit="32Gi")),
    ("shared_cache", "not mounted", lambda m: container(m)["volumeMounts"].pop(1)),
    ("shared_cache", "other claim", lambda m: pod(m)["volumes"][1].update(persistentVolumeClaim={"claimName": "x"})),
    ("shared_cache", "one node", lambda m: m.of("PersistentVolumeClaim")[0]["spec"].update(accessModes=["RWO"])),
    ("clusters_of_jobs", "other", lambda m: job(m).update(clusterSelector={"ray.io/cluster": "other"})),
    ("clusters_of_jobs", "both", lambda m: job(m).update(rayClusterSpec={})),
    ("clusters_of_jobs", "neither", lambda m: job(m).pop("clusterSelector")),
    ("clusters_of_jobs", "suspend", lambda m: job(m).update(suspend=True)),
    ("clusters_of_jobs", "retries", lambda m: job(m).update(backoffLimit=1)),
    ("clusters_of_jobs", "sidecar", lambda m: job(m).update(submissionMode="SidecarMode")),
    ("places_of_drivers", "unknown", lambda m: job(m).update(entrypointResources='{"slot": 1}')),
    ("places_of_drivers", "no JSON", lambda m: job(m).update(entrypointResources="student_slot: 1")),
    ("deletion", "ttl", lambda m: job(m).update(ttlSecondsAfterFinished=60)),
    (
        "deletion",
        "rules",
        lambda m: job(m).update(deletionStrategy={"deletionRules": [{}]}, shutdownAfterJobFinishes=True),
    ),
]


def test_the_manifests_keep_all_rules(manifests: Manifests) -> None:
    assert [document["kind"] for document in manifests.documents] == ["PersistentVolumeClaim", "RayCluster", "RayJob"]
    assert violations(manifests) == {}


@pytest.mark.parametrize(("rule", "change"), [(rule, change) for rule, _, change in BROKEN], ids=[
    f"{rule}: {what}" for rule, what, _ in BROKEN
])  # fmt: skip
def test_a_broken_manifest_is_refused(rule: str, change: Change, manifests: Manifests) -> None:
    change(manifests)
    assert rule in violations(manifests)


def test_every_rule_has_a_broken_manifest() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_rays_autoscaler_reads_the_groups_as_meant(manifests: Manifests) -> None:
    """Ray's own translation of a RayCluster, which its schema checks at the end."""
    resource = manifests.of("RayCluster")[0]
    resource["metadata"]["namespace"] = "default"
    types = autoscaling_config._derive_autoscaling_config_from_ray_cr(resource)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["teacher"]["labels"] == {"raykd-role": "teacher"}
    assert types["teacher"]["resources"] == {"CPU": 8, "GPU": 1, "teacher_slot": 1, "memory": bytes_of("32Gi")}
    assert types["student"]["labels"] == {"raykd-role": "student"}
    assert types["student"]["resources"] == {"CPU": 8, "student_slot": 8, "memory": bytes_of("32Gi")}


def test_a_run_of_the_readme_fits_the_groups(manifests: Manifests) -> None:
    """The keys that cluster/README.md places a run by name what the groups have."""
    text = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
    (block,) = [
        part for part in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "teachers" in part
    ]
    config = configuration.parse(yaml.safe_load(block), where="cluster/README.md")
    group_of = {group["groupName"]: group for group in cluster(manifests)["workerGroupSpecs"]}
    for placed in config.teachers:
        assert placed.node_labels == group_of["teacher"]["labels"]
        wanted = {"CPU": placed.num_cpus, "GPU": placed.gpus, **placed.resources}
        assert all(amount <= float(group_of["teacher"]["resources"][name]) for name, amount in wanted.items())
    wanted = {"CPU": config.train.worker_cpus, **config.train.worker_resources}
    assert wanted["student_slot"] == 1
    assert all(amount <= float(group_of["student"]["resources"][name]) for name, amount in wanted.items())
