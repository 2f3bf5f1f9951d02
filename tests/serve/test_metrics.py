"""The metrics as data, their dashboard and their table, and what is recorded of a service, without Ray."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import ray
import yaml

from raykd.serve import dashboard
from raykd.serve.dashboard import PANELS, Panel
from raykd.teachers.serving import metrics, recording
from raykd.teachers.serving.corpus_targets import CorpusTargets
from raykd.teachers.serving.metrics import METRICS, MetricSpec
from raykd.teachers.serving.recording import ServiceRecorder, WaitShare
from raykd.teachers.serving.replica_pool import ReplicaPool
from raykd.teachers.serving.service_spec import TeacherServiceSpec
from raykd.teachers.serving.usage import MOST_LOSSES, Recoveries, Traffic

ROOT = Path(__file__).parents[2]
OF_A_SERVICE = {"teacher": "t", "service": "0123abcd"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Recorded(list[tuple[MetricSpec, float, dict[str, str]]]):
    """What was recorded, in place of Ray."""

    def __call__(self, metric: MetricSpec, value: float, tags: dict[str, str] | None = None) -> None:
        assert set(tags or {}) == set(metric.tags), metric.name
        self.append((metric, value, tags or {}))

    def of(self, metric: MetricSpec, **tags: str) -> list[float]:
        return [value for known, value, given in self if known is metric and tags.items() <= given.items()]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    calls = Recorded()
    monkeypatch.setattr(recording, "record", calls)
    monkeypatch.setattr(recording, "_is_restarted_actor", lambda: False)
    return calls


class Pool:
    """As the recorder sees a pool of replicas."""

    losses = 0
    replicas = ("working", "working", "idle")

    def states(self) -> list[dict[str, Any]]:
        return [{"state": state, "calls": 0} for state in self.replicas]

    def oldest_s(self) -> float:
        return 2.5


def spec(ensemble: str | None = None) -> TeacherServiceSpec:
    teacher = SimpleNamespace(name="t", identity="0123abcdef0123abcdef")
    return cast(TeacherServiceSpec, SimpleNamespace(teacher=teacher, ensemble=ensemble))


def corpus(missing: int, sealed: bool = False) -> CorpusTargets:
    return cast(CorpusTargets, SimpleNamespace(sealed=sealed, ledger=SimpleNamespace(missing=missing)))


def names_in(panel: Panel) -> Iterator[str]:
    """The exported names that a panel's expressions read."""
    for query in panel.queries:
        for name in re.findall(r"\bray_\w+", query.expression):
            yield re.sub(r"_(bucket|sum|count)$", "", name)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_one_that_prometheus_and_ray_take(metric: MetricSpec) -> None:
    assert re.fullmatch(r"raykd_[a-z][a-z_]*", metric.name)
    assert not metric.name.endswith(("_total", "_bucket", "_sum", "_count"))
    assert metric.description
    assert set(metric.tags) <= {"teacher", "service", "state", "kind", "direction"}  # never rows, versions, runs, texts
    assert (metric.kind == "histogram") == bool(metric.boundaries)
    assert list(metric.boundaries) == sorted(set(metric.boundaries))
    assert recording._of_ray(metric).info["tag_keys"] == metric.tags


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_metric_has_a_panel_and_every_panel_reads_metrics() -> None:
    registered = {metric.exported for metric in METRICS}
    read = {name for panel in PANELS for name in names_in(panel)}
    assert read == registered
    for panel in PANELS:
        assert set(names_in(panel)) == {metric.exported for metric in panel.shows}, panel.title


def test_panels_group_and_filter_by_tags_that_their_metrics_have() -> None:
    for panel in PANELS:
        tags = set.intersection(*(set(metric.tags) for metric in panel.shows)) | {"le"}
        for query in panel.queries:
            used = {tag for group in re.findall(r"by \(([^)]*)\)", query.expression) for tag in group.split(", ")}
            used |= set(re.findall(r"[{,](\w+)=~?", query.expression))
            assert used <= tags, query.expression
            assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= used, query.legend


def test_the_committed_dashboard_is_the_one_that_the_panels_make() -> None:
    committed = (ROOT / "cluster" / "grafana" / "raykd.json").read_text(encoding="utf-8")
    assert committed == dashboard.dashboard(), "python -m raykd.serve.dashboard > cluster/grafana/raykd.json"


def test_panels_lie_beside_and_below_one_another() -> None:
    drawn = json.loads(dashboard.dashboard())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in drawn)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < dashboard.COLUMNS
    assert len({panel["id"] for panel in drawn}) == len(drawn) == len(PANELS)


def test_the_table_of_the_page_has_every_metric_as_it_is() -> None:
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(ray_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|", page, re.MULTILINE)
    tags = {metric.exported: ", ".join(f"`{tag}`" for tag in metric.tags) for metric in METRICS}
    assert rows == [(metric.exported, metric.kind, metric.unit, tags[metric.exported] or "none") for metric in METRICS]


def test_prometheus_reads_the_file_that_ray_writes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    config = yaml.safe_load((ROOT / "cluster" / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]


def test_the_pod_monitor_selects_the_pods_of_the_cluster() -> None:
    monitor = yaml.safe_load((ROOT / "cluster" / "podmonitor.yaml").read_text(encoding="utf-8"))
    cluster = yaml.safe_load((ROOT / "cluster" / "kuberay" / "raycluster.yaml").read_text(encoding="utf-8"))
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert monitor["spec"]["selector"] == {"matchLabels": {"ray.io/cluster": cluster["metadata"]["name"]}}


def test_without_ray_nothing_is_recorded_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(metric: MetricSpec) -> None:
        pytest.fail(f"{metric.name} was recorded")

    monkeypatch.setattr(recording, "_of_ray", refuse)
    for metric in METRICS:
        recording.record(metric, 1.0)
    recorder = ServiceRecorder(spec(), Traffic(), cast(ReplicaPool, Pool()))
    recorder.report(1, False, [])


def test_a_service_reports_differences_and_gauges_once_a_second(recorded: Recorded) -> None:
    clock, traffic, pool = Clock(), Traffic(), Pool()
    recorder = ServiceRecorder(spec(), traffic, cast(ReplicaPool, pool), clock)
    assert recorded.pop() == (metrics.SERVICE_RESTARTS, 0, OF_A_SERVICE)
    traffic.asked, traffic.known, traffic.segments = 7, 3, 1
    recorder.report(4, False, [corpus(5), corpus(9, sealed=True), corpus(1)])
    assert recorded.of(metrics.ROWS_ASKED, **OF_A_SERVICE) == [7]
    assert recorded.of(metrics.ROWS_SERVED_AT_ONCE) == [3]
    assert recorded.of(metrics.SEGMENTS_WRITTEN) == [1]
    assert recorded.of(metrics.CALLS_IN_FLIGHT) == [4]
    assert recorded.of(metrics.OLDEST_IN_FLIGHT) == [2.5]
    assert recorded.of(metrics.QUEUE_ROWS) == [6]
    by_state = {state: recorded.of(metrics.REPLICAS, state=state) for state in metrics.REPLICA_STATES}
    assert by_state == {"starting": [0], "working": [2], "idle": [1], "leaving": [0]}
    recorded.clear()
    clock.now += 0.9
    recorder.report(4, False, [])
    assert recorded == []
    clock.now += 0.2
    traffic.asked, traffic.tables, traffic.lost, pool.losses = 10, 1, 2, 1
    recorder.report(0, False, [])
    assert recorded.of(metrics.ROWS_ASKED) == [3]
    assert recorded.of(metrics.TABLES_SEALED) == [1]
    assert recorded.of(metrics.ROWS_RECOMPUTED) == [2]
    assert recorded.of(metrics.FAILURES) == recorded.of(metrics.FAILURES, kind="infra") == [1]


@pytest.mark.parametrize(("ensemble", "recorded_by_the_service"), [(None, [1]), ("reviews", [])])
def test_a_failed_teacher_is_recorded_once_and_of_an_ensemble_by_its_keeper(
    ensemble: str | None, recorded_by_the_service: list[int], recorded: Recorded
) -> None:
    clock = Clock()
    recorder = ServiceRecorder(spec(ensemble), Traffic(), cast(ReplicaPool, Pool()), clock)
    for _ in range(3):
        clock.now += 2
        recorder.report(0, True, [])
    assert recorded.of(metrics.FAILURES, kind="data") == recorded_by_the_service


def test_recoveries_end_with_the_first_answer_of_any_lost_row(recorded: Recorded) -> None:
    clock, traffic = Clock(), Traffic()
    recoveries = traffic.recoveries = Recoveries(clock)
    recoveries.lost("a", np.array([1, 2, 3]))
    recoveries.lost("b", np.array([1, 2, 3]))
    clock.now += 1
    recoveries.answered("a", np.array([4, 5]))
    clock.now += 1
    recoveries.answered("a", np.array([3, 9]))
    recoveries.answered("a", np.array([1, 2]))
    assert recoveries.take() == [2.0]
    clock.now += 3
    recoveries.answered("b", np.array([1]))
    recorder = ServiceRecorder(spec(), traffic, cast(ReplicaPool, Pool()), clock)
    recorder.report(0, False, [])
    assert recorded.of(metrics.RECOVERY_SECONDS) == [5.0]


def test_losses_that_nobody_asks_about_again_are_forgotten() -> None:
    recoveries = Recoveries(Clock())
    for row in range(MOST_LOSSES + 1):
        recoveries.lost("a", np.array([row]))
    recoveries.answered("a", np.array([0]))
    assert recoveries.take() == []
    recoveries.answered("a", np.arange(MOST_LOSSES + 1))
    assert len(recoveries.take()) == MOST_LOSSES


def test_the_share_of_waiting_is_that_of_the_steps_of_a_second(recorded: Recorded) -> None:
    clock = Clock()
    share = WaitShare(clock)
    waited = 50.0  # of an earlier part of a training that is resumed
    shares = []
    for seconds, waiting in ((2.0, 0.5), (0.3, 0.3), (0.3, 0.0), (0.6, 0.3)):
        clock.now += 10  # an evaluation between two steps
        share.begin(waited)
        clock.now, waited = clock.now + seconds, waited + waiting
        share.end(waited)
        shares.append(recorded.of(metrics.STUDENT_WAIT_SHARE)[-1])
    assert shares == pytest.approx([0.25, 1.0, 0.0, 0.5])
