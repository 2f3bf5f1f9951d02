"""The Grafana dashboard of a cluster's metrics, made from panels that are data: docs/serving.md, "Watching it".

`python -m raykd.serve.dashboard > cluster/grafana/raykd.json` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raykd.teachers.serving import metrics
from raykd.teachers.serving.metrics import MetricSpec

COLUMNS, HEIGHT = 24, 8
"""Of Grafana's grid, and of a panel in it: two panels are beside each other."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TEACHERS = '{teacher=~"$teacher"}'
"""Of the metrics that have a teacher: those that are chosen at the top of the page."""


@dataclass(frozen=True)
class Query:
    """A line of a panel: an expression of PromQL, and what its legend has."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard.

    Attributes:
        unit: by Grafana's name.
        shows: metrics that its queries read; their descriptions are the panel's.
    """

    title: str
    unit: str
    shows: Sequence[MetricSpec]
    queries: Sequence[Query]


def _rate(metric: MetricSpec, legend: str) -> Query:
    """Growth per second of a counter that grows all the time."""
    return Query(f"sum by (teacher) (rate({metric.exported}{TEACHERS}[$__rate_interval]))", f"{{{{teacher}}}} {legend}")


def _count(metric: MetricSpec, *beside: str) -> Query:
    """A counter's value: a series of rare events begins at its first one, which `rate` and `increase` do not see."""
    legend = " ".join(f"{{{{{tag}}}}}" for tag in ("teacher", *beside))
    return Query(f"sum by ({', '.join(('teacher', *beside))}) ({metric.exported}{TEACHERS})", legend)


def _quantile(share: float) -> Query:
    buckets = f"sum by (teacher, le) ({metrics.RECOVERY_SECONDS.exported}_bucket{TEACHERS})"
    return Query(f"histogram_quantile({share:g}, {buckets})", f"{{{{teacher}}}} {share:.0%}")


PANELS = (
    Panel(
        "Longest call under way",
        "s",
        [metrics.OLDEST_IN_FLIGHT],
        [
            Query(
                f"max by (teacher, service) ({metrics.OLDEST_IN_FLIGHT.exported}{TEACHERS})",
                "{{teacher}} {{service}}",
            )
        ],
    ),
    Panel("Replicas by state", "short", [metrics.REPLICAS], [_count(metrics.REPLICAS, "state")]),
    Panel(
        "Rows per second",
        "short",
        [metrics.ROWS_ASKED, metrics.ROWS_SERVED_AT_ONCE, metrics.ROWS_COMPUTED],
        [
            _rate(metrics.ROWS_ASKED, "asked"),
            _rate(metrics.ROWS_SERVED_AT_ONCE, "served at once"),
            _rate(metrics.ROWS_COMPUTED, "computed"),
        ],
    ),
    Panel("Queue", "short", [metrics.QUEUE_ROWS], [_count(metrics.QUEUE_ROWS)]),
    Panel("Calls under way", "short", [metrics.CALLS_IN_FLIGHT], [_count(metrics.CALLS_IN_FLIGHT)]),
    Panel(
        "Students waiting for soft targets",
        "percentunit",
        [metrics.STUDENT_WAIT_SHARE],
        [
            Query(f"avg({metrics.STUDENT_WAIT_SHARE.exported})", "mean"),
            Query(f"max({metrics.STUDENT_WAIT_SHARE.exported})", "largest"),
        ],
    ),
    Panel("Failures", "short", [metrics.FAILURES], [_count(metrics.FAILURES, "kind")]),
    Panel("Restarts of services", "short", [metrics.SERVICE_RESTARTS], [_count(metrics.SERVICE_RESTARTS)]),
    Panel("Rows computed again after a loss", "short", [metrics.ROWS_RECOMPUTED], [_count(metrics.ROWS_RECOMPUTED)]),
    Panel("Recovery after a loss", "s", [metrics.RECOVERY_SECONDS], [_quantile(0.5), _quantile(0.9)]),
    Panel("Decisions to scale", "short", [metrics.SCALE_DECISIONS], [_count(metrics.SCALE_DECISIONS, "direction")]),
    Panel("Tables sealed", "short", [metrics.TABLES_SEALED], [_count(metrics.TABLES_SEALED)]),
    Panel("Segments written", "short", [metrics.SEGMENTS_WRITTEN], [_count(metrics.SEGMENTS_WRITTEN)]),
)
"""In reading order; those that show trouble are first."""


def dashboard() -> str:
    """The dashboard as Grafana imports it, JSON that ends with a line break."""
    content = {
        "uid": "raykd",
        "title": "raykd",
        "description": "Teachers' services and their students on a Ray cluster",
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [_drawn(place, panel) for place, panel in enumerate(PANELS)],
    }
    return json.dumps(content, indent=2) + "\n"


def _variables() -> list[dict[str, Any]]:
    """What is chosen at the top of the page: the data source and the teachers, all by default."""
    values = f"label_values({metrics.CALLS_IN_FLIGHT.exported}, teacher)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1},
        {
            "name": "teacher",
            "label": "Teacher",
            "type": "query",
            "datasource": SOURCE,
            "definition": values,
            "query": {"query": values, "refId": "teacher"},
            "refresh": 2,
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "current": {"text": ["All"], "value": ["$__all"]},
            "sort": 1,
        },
    ]


def _drawn(place: int, panel: Panel) -> dict[str, Any]:
    width = COLUMNS // 2
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": ". ".join(f"{metric.exported}: {metric.description}" for metric in panel.shows),
        "datasource": SOURCE,
        "gridPos": {"x": place % 2 * width, "y": place // 2 * HEIGHT, "w": width, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + k),
                "datasource": SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for k, query in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    print(dashboard(), end="")
