"""What a teacher's service is made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from raykd.teachers.serving.replica import ActorResources, ModelReplica, Replica
from raykd.teachers.teacher_model import TeacherModel

KEEPER = "ensemble-"
"""What the names of the actors that keep served ensembles begin with."""


@dataclass(frozen=True)
class TeacherServiceSpec:
    """What a service is made of; it restarts from this.

    Attributes:
        batch_tokens: tokens of one call.
        lease_s: a detached service ends so long after its last user; None: it lives and dies with its driver.
        replica: the actors' class: runs the checkpoint, sleeps for a bench, or asks a server.
        keep_bytes: nothing is stored: rows are computed whenever they are asked for, and the newest answers are kept up
            to so much, since several students or micro-batches may ask for them at about the same time. Of features.
        call_timeout_s: a replica that works on one call for longer is replaced; None: never.
        ensemble: the served ensemble that has it; None: it is started where it is needed.
    """

    teacher: TeacherModel
    cache: str
    replicas: int
    actor_resources: ActorResources
    batch_tokens: int
    lease_s: float | None = None
    replica: type[Replica] = ModelReplica
    keep_bytes: int | None = None
    call_timeout_s: float | None = None
    ensemble: str | None = None

    @property
    def name(self) -> str:
        """The actor's name: whoever wants the same teacher and has the same cache finds the same service."""
        cache = hashlib.sha256(self.cache.encode()).hexdigest()[:8]
        return f"teacher-{self.teacher.identity[:24]}-{cache}{'' if self.keep_bytes is None else '-unstored'}"


def keeper_name(ensemble: str) -> str:
    """The name of the actor that keeps a served ensemble."""
    return f"{KEEPER}{ensemble}"
