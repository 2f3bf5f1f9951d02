"""What KubeRay (v1.7) and raykd ask of the manifests in cluster/kuberay, of which most is in no schema.

Each rule takes the manifests and yields what is wrong, in one line with its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

CLUSTER_KEYS = {
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
    "gcsFaultToleranceOptions", "headServiceAnnotations", "suspend", "managedBy", "upgradeStrategy",
}  # fmt: skip
"""Without networkPolicy, tlsOptions and historyServerOptions, which are off in an operator as it is installed."""
GROUP_KEYS = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "resources", "labels",
    "template", "idleTimeoutSeconds", "priority", "suspend", "scaleStrategy",
}  # fmt: skip
HEAD_KEYS = {"rayStartParams", "resources", "labels", "template", "serviceType", "headService", "enableIngress"}
JOB_KEYS = {
    "entrypoint", "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "clusterSelector", "rayClusterSpec",
    "runtimeEnvYAML", "submissionMode", "submitterPodTemplate", "submitterConfig", "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished", "backoffLimit", "activeDeadlineSeconds", "preRunningDeadlineSeconds",
    "deletionStrategy", "metadata", "jobId", "suspend", "managedBy",
}  # fmt: skip
LONGEST_NAME = {"RayCluster": 53, "RayJob": 47}
API_VERSIONS = {"RayCluster": "ray.io/v1", "RayJob": "ray.io/v1", "PersistentVolumeClaim": "v1"}
FIRST_WITH_TOKENS = (2, 52)
GPU = "nvidia.com/gpu"
SIZES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True)
class Manifests:
    """All documents of a folder, and the version that Ray is pinned to."""

    documents: list[Manifest]
    ray_version: str

    def of(self, kind: str) -> list[Manifest]:
        return [document for document in self.documents if document.get("kind") == kind]

    def groups(self) -> Iterator[tuple[str, Manifest]]:
        """The head's group and the workers' of all clusters, with their names."""
        for cluster in self.of("RayCluster"):
            yield "head", cluster["spec"]["headGroupSpec"]
            for group in cluster["spec"].get("workerGroupSpecs", []):
                yield group.get("groupName", "?"), group

    def pods(self) -> Iterator[tuple[str, Manifest, Manifest]]:
        """Name of the group, its pod's spec and its Ray container."""
        for name, group in self.groups():
            pod = group.get("template", {}).get("spec", {})
            for container in pod.get("containers", [])[:1]:
                yield name, pod, container


def bytes_of(quantity: str) -> int:
    """A quantity of memory: `4Gi` is 4 × 2**30.

    Raises:
        ValueError: it has no unit of SIZES.
    """
    match = re.fullmatch(r"(\d+)(\w\w)", str(quantity))
    if match is None or match[2] not in SIZES:
        raise ValueError(f"{quantity}: a number with Ki, Mi, Gi or Ti")
    return int(match[1]) * SIZES[match[2]]


def known_kinds(manifests: Manifests) -> Iterator[str]:
    for document in manifests.documents:
        kind, version = document.get("kind", "?"), document.get("apiVersion")
        if API_VERSIONS.get(kind) != version:
            yield f"{kind} of {version}: not a stable kind of this version"


def known_keys(manifests: Manifests) -> Iterator[str]:
    for cluster in manifests.of("RayCluster"):
        yield from (f"RayCluster.spec.{key}: unknown or alpha" for key in set(cluster["spec"]) - CLUSTER_KEYS)
        if cluster["spec"].get("gcsFaultToleranceOptions", {}).get("backend") == "rocksdb":
            yield "gcsFaultToleranceOptions.backend rocksdb: alpha"
    for name, group in manifests.groups():
        known = HEAD_KEYS if name == "head" else GROUP_KEYS
        yield from (f"{name}.{key}: unknown" for key in set(group) - known)
    for job in manifests.of("RayJob"):
        yield from (f"RayJob.spec.{key}: unknown" for key in set(job["spec"]) - JOB_KEYS)


def required_keys(manifests: Manifests) -> Iterator[str]:
    for name, group in manifests.groups():
        needed = {"template"} if name == "head" else {"groupName", "minReplicas", "maxReplicas", "template"}
        yield from (f"{name}: no {key}" for key in needed - set(group))
        if not group.get("template", {}).get("spec", {}).get("containers"):
            yield f"{name}: no container"
    yield from ("RayJob: no entrypoint" for job in manifests.of("RayJob") if not job["spec"].get("entrypoint"))


def names(manifests: Manifests) -> Iterator[str]:
    for kind, longest in LONGEST_NAME.items():
        for document in manifests.of(kind):
            name = document["metadata"]["name"]
            if len(name) > longest:
                yield f"{kind} {name}: more than {longest} characters"
            if not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name):
                yield f"{kind} {name}: not a DNS-1035 label"


def versions(manifests: Manifests) -> Iterator[str]:
    for cluster in manifests.of("RayCluster"):
        if cluster["spec"].get("rayVersion") != manifests.ray_version:
            yield f"rayVersion {cluster['spec'].get('rayVersion')}: pinned is {manifests.ray_version}"
    for name, _, container in manifests.pods():
        kind = "gpu" if GPU in container.get("resources", {}).get("limits", {}) else "cpu"
        if not re.search(rf":{re.escape(manifests.ray_version)}-py3\d+-{kind}$", container["image"]):
            yield f"{name}: image {container['image']}: the tag is {manifests.ray_version}-pyXY-{kind}"


def replicas(manifests: Manifests) -> Iterator[str]:
    for name, group in manifests.groups():
        if name == "head" or not {"minReplicas", "maxReplicas"} <= set(group):
            continue
        least, most = group["minReplicas"], group["maxReplicas"]
        if not 0 <= least <= group.get("replicas", least) <= most:
            yield f"{name}: 0 ≤ minReplicas ≤ replicas ≤ maxReplicas does not hold"


def labels(manifests: Manifests) -> Iterator[str]:
    for name, group in manifests.groups():
        if "labels" in (group.get("rayStartParams") or {}):
            yield f"{name}: labels in rayStartParams are refused, use the group's labels"
        for key, value in group.get("labels", {}).items():
            if not all(re.fullmatch(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", part) for part in (key, str(value))):
                yield f"{name}: label {key}={value}"


def resources_once(manifests: Manifests) -> Iterator[str]:
    for name, group in manifests.groups():
        doubled = {"num-cpus", "num-gpus", "memory", "resources"} & set(group.get("rayStartParams") or {})
        if doubled and group.get("resources"):
            yield f"{name}: {', '.join(sorted(doubled))} in rayStartParams beside resources"
        yield from (
            f"{name}: resources.{key} is a text" for key, n in group.get("resources", {}).items() if type(n) is not str
        )


def gpus(manifests: Manifests) -> Iterator[str]:
    for name, group in manifests.groups():
        containers = group.get("template", {}).get("spec", {}).get("containers") or [{}]
        asked = containers[0].get("resources", {})
        request, limit = (str(asked.get(key, {}).get(GPU, "0")) for key in ("requests", "limits"))
        if request != limit:
            yield f"{name}: {request} GPUs requested, limit {limit}"
        if group.get("resources", {}).get("GPU", "0") != limit:
            yield f"{name}: resources.GPU is not the container's {GPU}"


def authentication(manifests: Manifests) -> Iterator[str]:
    for cluster in manifests.of("RayCluster"):
        if cluster["spec"].get("authOptions", {}).get("mode") != "token":
            yield "authOptions.mode is not token"
        version = tuple(int(part) for part in str(cluster["spec"].get("rayVersion", "0.0")).split(".")[:2])
        if version < FIRST_WITH_TOKENS:
            yield "token authentication needs rayVersion ≥ 2.52"


def autoscaler(manifests: Manifests) -> Iterator[str]:
    for cluster in manifests.of("RayCluster"):
        spec = cluster["spec"]
        second = spec.get("autoscalerOptions", {}).get("version") == "v2"
        if "autoscalerOptions" in spec and not spec.get("enableInTreeAutoscaling"):
            yield "autoscalerOptions without enableInTreeAutoscaling"
        for name, group in Manifests([cluster], manifests.ray_version).groups():
            policy = group.get("template", {}).get("spec", {}).get("restartPolicy", "Never")
            if second and policy != "Never":
                yield f"{name}: restartPolicy {policy} with autoscaler v2"
            if not second:
                only = {"idleTimeoutSeconds", "priority"} & set(group)
                yield from (f"{name}: {key} needs autoscaler v2" for key in sorted(only))


def volumes(manifests: Manifests) -> Iterator[str]:
    for name, pod, container in manifests.pods():
        there = {volume["name"] for volume in pod.get("volumes", [])}
        wanted = {mount["name"] for mount in container.get("volumeMounts", [])}
        yield from (f"{name}: no volume {volume}" for volume in sorted(wanted - there))


def mounted(pod: Manifest, container: Manifest, path: str) -> Manifest:
    """The volume at a path; empty where there is none."""
    by_name = {volume["name"]: volume for volume in pod.get("volumes", [])}
    at_path = [mount["name"] for mount in container.get("volumeMounts", []) if mount["mountPath"] == path]
    return by_name.get(at_path[0], {}) if at_path else {}


def shared_memory(manifests: Manifests) -> Iterator[str]:
    for name, pod, container in manifests.pods():
        volume = mounted(pod, container, "/dev/shm").get("emptyDir", {})
        if volume.get("medium") != "Memory" or "sizeLimit" not in volume:
            yield f"{name}: /dev/shm is no emptyDir of medium Memory with a sizeLimit"
        elif bytes_of(volume["sizeLimit"]) >= bytes_of(container["resources"]["limits"]["memory"]):
            yield f"{name}: /dev/shm counts as memory, and takes all of it"


def shared_cache(manifests: Manifests) -> Iterator[str]:
    claims = {claim["metadata"]["name"]: claim["spec"] for claim in manifests.of("PersistentVolumeClaim")}
    for name, pod, container in manifests.pods():
        claim = mounted(pod, container, "/mnt/raykd").get("persistentVolumeClaim", {}).get("claimName")
        if claim not in claims:
            yield f"{name}: /mnt/raykd is no claim of these manifests"
        elif claims[claim]["accessModes"] != ["ReadWriteMany"]:
            yield f"{claim}: not ReadWriteMany, although several nodes write"


def clusters_of_jobs(manifests: Manifests) -> Iterator[str]:
    there = {cluster["metadata"]["name"] for cluster in manifests.of("RayCluster")}
    for job in manifests.of("RayJob"):
        spec = job["spec"]
        if ("clusterSelector" in spec) == ("rayClusterSpec" in spec):
            yield "RayJob: exactly one of clusterSelector and rayClusterSpec"
            continue
        if "clusterSelector" not in spec:
            continue
        if spec["clusterSelector"].get("ray.io/cluster") not in there:
            yield f"RayJob: no cluster {spec['clusterSelector'].get('ray.io/cluster')}"
        refused = {"suspend": spec.get("suspend"), "backoffLimit": spec.get("backoffLimit", 0) > 0}
        refused["SidecarMode"] = spec.get("submissionMode") == "SidecarMode"
        yield from (f"RayJob: {key} with clusterSelector" for key, is_set in refused.items() if is_set)


def places_of_drivers(manifests: Manifests) -> Iterator[str]:
    offered = {key for _, group in manifests.groups() for key in group.get("resources", {})}
    for job in manifests.of("RayJob"):
        try:
            asked = json.loads(job["spec"].get("entrypointResources", "{}"))
        except json.JSONDecodeError as error:
            yield f"RayJob: entrypointResources: {error}"
            continue
        yield from (f"RayJob: no group has {key}" for key in set(asked) - offered)


def deletion(manifests: Manifests) -> Iterator[str]:
    for job in manifests.of("RayJob"):
        shutdown, seconds = job["spec"].get("shutdownAfterJobFinishes"), job["spec"].get("ttlSecondsAfterFinished", 0)
        if job["spec"].get("deletionStrategy", {}).get("deletionRules") and (shutdown or seconds):
            yield "RayJob: deletionRules beside shutdownAfterJobFinishes or its ttl"
        if seconds and not shutdown:
            yield "RayJob: ttlSecondsAfterFinished without shutdownAfterJobFinishes"


RULES: dict[str, Callable[[Manifests], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (
        known_kinds, known_keys, required_keys, names, versions, replicas, labels, resources_once, gpus,
        authentication, autoscaler, volumes, shared_memory, shared_cache, clusters_of_jobs, places_of_drivers,
        deletion,
    )
}  # fmt: skip


def violations(manifests: Manifests) -> dict[str, list[str]]:
    """Rule → what breaks it; without the rules that hold."""
    broken = {name: list(rule(manifests)) for name, rule in RULES.items()}
    return {name: lines for name, lines in broken.items() if lines}
