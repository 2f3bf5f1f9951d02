"""The metrics that raykd exports on a cluster, as data: docs/serving.md, "Watching it"; no Ray.

recording.py records them, raykd/serve/dashboard.py draws them. A tag never names a row, a text, a version or a run:
each value of a tag is a series of its own for as long as the agent of its node lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SERVICE_TAGS = ("teacher", "service")
"""The teacher's name, and the first digits of its identity, with which the name of the service's actor begins."""
REPLICA_STATES = ("starting", "working", "idle", "leaving")
FAILURE_KINDS = ("infra", "data")
EXPORTED = "ray_"
"""What Ray puts before each name."""


@dataclass(frozen=True)
class MetricSpec:
    """One metric.

    Attributes:
        name: without what Ray adds to it.
        tags: keys of its tags; all of them must be given with each value.
        boundaries: of the buckets of a histogram, in its unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    description: str
    tags: tuple[str, ...] = SERVICE_TAGS
    boundaries: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """Its name in Prometheus; of a histogram, without `_bucket`, `_sum` and `_count`."""
        return f"{EXPORTED}{self.name}{'_total' if self.kind == 'counter' else ''}"


ROWS_ASKED = MetricSpec("raykd_rows_asked", "counter", "rows", "Rows that clients asked the service for")
ROWS_SERVED_AT_ONCE = MetricSpec(
    "raykd_rows_served_at_once", "counter", "rows", "Of the rows asked for, those that were known already"
)
ROWS_COMPUTED = MetricSpec("raykd_rows_computed", "counter", "rows", "Rows that replicas answered")
ROWS_RECOMPUTED = MetricSpec(
    "raykd_rows_recomputed_after_loss",
    "counter",
    "rows",
    "Rows of calls that were lost, with their replica or on the way, to be computed again",
)
CALLS_IN_FLIGHT = MetricSpec("raykd_calls_in_flight", "gauge", "calls", "Calls that replicas have not answered yet")
OLDEST_IN_FLIGHT = MetricSpec(
    "raykd_oldest_in_flight_seconds",
    "gauge",
    "seconds",
    "For how long the longest call is being worked on: it grows where a replica hangs",
)
QUEUE_ROWS = MetricSpec("raykd_queue_rows", "gauge", "rows", "Rows that somebody has announced and that are not known")
REPLICAS = MetricSpec("raykd_replicas", "gauge", "replicas", "Replicas by state", (*SERVICE_TAGS, "state"))
FAILURES = MetricSpec(
    "raykd_failures",
    "counter",
    "failures",
    "infra: a replica was lost or hung, its rows go to another; data: the teacher has failed and answers nobody",
    (*SERVICE_TAGS, "kind"),
)
SERVICE_RESTARTS = MetricSpec(
    "raykd_service_restarts", "counter", "restarts", "Times that Ray started a service's process again"
)
SEGMENTS_WRITTEN = MetricSpec("raykd_segments_written", "counter", "files", "Segment files written to the cache")
TABLES_SEALED = MetricSpec("raykd_tables_sealed", "counter", "files", "Whole tables written to the cache")
RECOVERY_SECONDS = MetricSpec(
    "raykd_recovery_seconds",
    "histogram",
    "seconds",
    "From a call that was lost with its replica to the next answer with any of its rows",
    boundaries=(0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
SCALE_DECISIONS = MetricSpec(
    "raykd_scale_decisions",
    "counter",
    "decisions",
    "Replicas that an ensemble has added, or taken away, by itself",
    (*SERVICE_TAGS, "direction"),
)
STUDENT_WAIT_SHARE = MetricSpec(
    "raykd_student_wait_share",
    "gauge",
    "share",
    "Of the last second or more of a student worker's steps, the share spent waiting for soft targets",
    (),
)

METRICS = (
    ROWS_ASKED,
    ROWS_SERVED_AT_ONCE,
    ROWS_COMPUTED,
    ROWS_RECOMPUTED,
    CALLS_IN_FLIGHT,
    OLDEST_IN_FLIGHT,
    QUEUE_ROWS,
    REPLICAS,
    FAILURES,
    SERVICE_RESTARTS,
    SEGMENTS_WRITTEN,
    TABLES_SEALED,
    RECOVERY_SECONDS,
    SCALE_DECISIONS,
    STUDENT_WAIT_SHARE,
)
"""All of them."""
