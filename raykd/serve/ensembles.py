"""Served ensembles by name: start one, look at it, scale it, end it."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from raykd.config import ModelTeacherConfig, TeacherConfig
from raykd.config.ensemble import EnsembleRecord, ServedTeacher
from raykd.data.splits import TextSplit
from raykd.errors import ConfigError, RunError, TeacherError
from raykd.ray_errors import NAMESPACE, cause_of, first_line
from raykd.run.context import RunContext
from raykd.serve.keeper import EnsembleKeeper
from raykd.teachers.serving import parity
from raykd.teachers.serving.client import TargetSource, TeacherClient
from raykd.teachers.serving.placement import keeper_of
from raykd.teachers.serving.service_actor import connect
from raykd.teachers.serving.service_spec import KEEPER, TeacherServiceSpec, keeper_name
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
ANSWER_S, START_S = 30.0, 300.0
"""For an answer of a keeper, and for its start: on a cluster that grows a process may have to wait for a place."""


def up(context: RunContext, teachers: Sequence[TeacherModel], idle_timeout_s: float | None) -> None:
    """Starts an ensemble of prepared teachers under the configuration's name; one that is up with the same is left so.

    Raises:
        ConfigError: another ensemble of that name is up.
    """
    config = context.config
    specs = [
        dataclasses.replace(spec, ensemble=config.name, lease_s=config.cluster.lease_s)
        for spec in context.services(teachers, config.teachers)
    ]
    record = EnsembleRecord(
        name=config.name,
        task=context.task.type,
        labels=list(context.task.labels),
        lease_s=config.cluster.lease_s,
        idle_timeout_s=idle_timeout_s,
        teachers=[
            _served(teacher, settings, spec)
            for teacher, settings, spec in zip(teachers, config.teachers, specs, strict=True)
        ],
    )
    running = keeper_of(config.name)
    if running is not None:
        before: EnsembleRecord = ask(running.record.remote())
        if [each.identity for each in before.teachers] != [each.identity for each in record.teachers]:
            raise ConfigError(f"ensemble {config.name}", "is up with other teachers", f"raykd serve down {config.name}")
        log.info("ensemble %s is up already", config.name)
        return
    record.write(config.cache_folder)
    actor: Any = ray.remote(EnsembleKeeper)
    keeper = actor.options(
        name=keeper_name(config.name), namespace=NAMESPACE, lifetime="detached", num_cpus=0, max_restarts=-1,
        max_concurrency=4, scheduling_strategy="DEFAULT",
    ).remote(config.name, str(config.cache_folder), specs)  # fmt: skip
    ask(keeper.record.remote(), START_S)  # a detached actor whose driver leaves before its first answer can be lost


def find(name: str) -> ActorHandle:
    """The keeper of an ensemble that is up.

    Raises:
        ConfigError: there is none of that name.
    """
    keeper = keeper_of(name)
    if keeper is None:
        known = ", ".join(names()) or "none is"
        raise ConfigError(f"ensemble {name}", f"is not up on this cluster; up: {known}", "raykd serve up CONFIG")
    return keeper


def names() -> list[str]:
    """The ensembles that are up on the cluster."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    found = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]
    return sorted(name.removeprefix(KEEPER) for name in found if name.startswith(KEEPER))


def status(name: str) -> dict[str, Any]:
    """What `EnsembleKeeper.status` says, with the name of the ensemble.

    Raises:
        ConfigError: there is no such ensemble.
        RunError: it does not answer.
    """
    answer: dict[str, Any] = ask(find(name).status.remote())
    return answer


def scale(name: str, replicas: dict[str, int]) -> dict[str, Any]:
    """Sets the numbers of replicas of these teachers and returns the status; errors as for `status`.

    Raises:
        ConfigError: there is no such ensemble or teacher, or a number is less than one.
    """
    for teacher, number in replicas.items():
        if number < 1:
            raise ConfigError(f"--replicas {teacher}={number}", "is less than one", f"raykd serve down {name} ends it")
    ask(find(name).scale.remote(replicas))
    return status(name)


def down(name: str, force: bool = False) -> dict[str, list[str]]:
    """Ends an ensemble; services that runs still use end with the last of these, or at once with `force`.

    Returns:
        The runs that still use a teacher, by its name.
    """
    keeper = find(name)
    using: dict[str, list[str]] = ask(keeper.close.remote(force), 60 + ANSWER_S)
    ray.kill(keeper)
    deadline = time.monotonic() + ANSWER_S
    while keeper_of(name) is not None and time.monotonic() < deadline:  # its name is not free at once
        time.sleep(0.1)
    return using


def probe(context: RunContext, name: str) -> None:
    """Waits until every teacher of an ensemble has answered on some validation rows as its checkpoint does here.

    One that cannot ends the ensemble again: what is up does answer.

    Raises:
        TeacherError: with the reason.
    """
    count = max(1, context.config.parity_rows)
    rows, ids = context.corpus.rows("validation"), context.corpus.ids["validation"][:count]
    split = TextSplit.of(rows.texts(ids), rows.pairs(ids))
    places = np.arange(len(ids), dtype=np.int64)
    try:
        for spec in ask(find(name).specs.remote()):
            source = TargetSource(spec.teacher, split, spec.cache, context.run, places, spec)
            if context.config.parity_rows:
                parity.probe(source, count)
            else:
                TeacherClient(source).get(places)
            connect(spec).release.remote(context.run)
        ask(find(name).opened.remote())
    except TeacherError:
        down(name, force=True)
        raise


def _served(teacher: TeacherModel, config: TeacherConfig, spec: TeacherServiceSpec) -> ServedTeacher:
    """A prepared teacher as an item of `teachers` that others can use: a given checkpoint, nothing left open."""
    if not isinstance(config, ModelTeacherConfig):
        what = "is an endpoint, which is a server already"
        raise ConfigError(f"teacher {teacher.name}", what, "leave it out here, and name it in the runs that use it")
    placed = config.model_dump(
        mode="json", include={"num_cpus", "num_gpus", "resources", "node_labels", "call_timeout_s"}
    )
    entry = {
        **placed,
        "prepare": "given",
        "model": teacher.folder,
        "max_length": teacher.max_length,
        "precision": teacher.dtype,
        "threads": spec.actor_resources.threads,
        "batch_tokens": spec.batch_tokens,
        "replicas": config.replicas,
    }
    if teacher.labels:  # in the checkpoint's order
        entry["labels"] = [label for _, label in sorted(zip(teacher.columns, teacher.labels, strict=True))]
    return ServedTeacher(
        name=teacher.name, entry=entry, identity=teacher.identity,
        replicas=config.replicas, max_replicas=config.max_replicas,
    )  # fmt: skip


def ask(ref: ray.ObjectRef, seconds: float = ANSWER_S) -> Any:
    """A keeper's answer.

    Raises:
        RunError: it does not answer.
    """
    try:
        return ray.get(ref, timeout=seconds)
    except RayTaskError as error:
        raise cause_of(error) from None
    except RayError as error:
        raise RunError("the ensemble's keeper", f"does not answer: {first_line(error)}", "try again") from None
