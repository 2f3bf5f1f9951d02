"""The actor of a teacher's service: found by its name, or started."""

from __future__ import annotations

from typing import Any

import ray
from ray.actor import ActorHandle

from raykd.ray_errors import NAMESPACE
from raykd.teachers.serving.service import TeacherService
from raykd.teachers.serving.service_spec import TeacherServiceSpec


def find(spec: TeacherServiceSpec) -> ActorHandle:
    """The service that a driver has started; a detached one whose lease had run out is started again.

    Raises:
        ValueError: there is none.
    """
    return ray.get_actor(spec.name, namespace=NAMESPACE) if spec.lease_s is None else connect(spec)


def connect(spec: TeacherServiceSpec) -> ActorHandle:
    """The service of this teacher: the one that is there, or a new one.

    One without a lease lives as long as the handle that created it: handles got by name do not keep it.
    """
    actor: Any = ray.remote(TeacherService)
    return actor.options(
        name=spec.name,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime=None if spec.lease_s is None else "detached",
        num_cpus=0,
        max_restarts=-1,
        scheduling_strategy="DEFAULT",  # never inside the placement group of a worker that starts it
    ).remote(spec)
