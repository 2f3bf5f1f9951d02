"""The driver of the students of several domains: what they share, then their runs as Ray tasks, so many at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raykd.domains import results
from raykd.domains.plan import DomainRun
from raykd.domains.shared import first_account, prepare
from raykd.domains.task import DomainTask, beside_of, run_domain, stop_file, task_resources, threads_of
from raykd.errors import Interrupted, RaykdError, RunError, one_line
from raykd.ray_errors import cause_of, first_line
from raykd.records.domains_result import DomainsResult
from raykd.records.events import DomainEndedEvent, DomainsPlanEvent, DomainStartedEvent
from raykd.run.concurrency import needed_by_run, runs_at_once
from raykd.run.context import RunContext
from raykd.run.trackers import check_trackers

log = logging.getLogger(__name__)
PATIENCE_S = 60.0
"""How long running domains may take to save a checkpoint when the user stops them."""
POLL_S = 0.2


def run(context: RunContext, runs: Sequence[DomainRun], named: bool) -> DomainsResult:
    """The students of all domains; resumes where an earlier session in the same folder stopped.

    Args:
        context: its configuration is that of all domains, its log their common one.
        named: the domains were named; else they are all of the data.

    Raises:
        ConfigError: a tracker's package is missing, or a domain's folder belongs to another run.
        Interrupted: `context.stop` was set; running domains have saved checkpoints.
        RunError: the run of a domain failed; the others are finished.
    """
    begun, config = time.time(), context.config
    check_trackers(config.trackers)
    at_once = runs_at_once(config, len(runs), context.remote, beside=beside_of(config))
    folders = {run.domain: run.name for run in runs}
    context.metrics.write(
        DomainsPlanEvent(metric=context.task.best_by, concurrency=at_once, domains=folders, named=named)
    )
    unfinished = [run for run in runs if not _finished(context, run)]
    shared = prepare(context, unfinished)
    accounts = first_account(context, shared.entries)
    threads = threads_of(config, at_once, context.remote)
    tasks = {
        run.domain: DomainTask(run, context.folder.path, shared.prepared[run.domain], context.remote, threads)
        for run in unfinished
    }
    if tasks:
        context.phase("students")
    _Tasks(context, tasks, at_once, len(runs)).run()
    return results.domains_result(config, runs, accounts, concurrency=at_once, begun=begun)


def _finished(context: RunContext, run: DomainRun) -> bool:
    """Whether a domain is done already; if not, its folder becomes its run's."""
    with run.folder.claimed(run.config):
        result = run.folder.run_result()
        if result is None:
            run.folder.write_config(run.config)
            return False
    event = DomainEndedEvent(domain=run.domain, state="done", value=result.reported_value(result))
    context.metrics.write(event)
    return True


class _Tasks:
    """The runs of the domains as Ray tasks: those that wait, those that run, how they ended.

    Args:
        domains: how many there are, with those that an earlier session has finished.
    """

    def __init__(self, context: RunContext, tasks: Mapping[str, DomainTask], at_once: int, domains: int) -> None:
        self.context, self.at_once, self.domains, self.finished = context, at_once, domains, domains - len(tasks)
        self.waiting = dict(tasks)
        self.running: dict[ray.ObjectRef, str] = {}
        self.ended: dict[str, DomainEndedEvent] = {}
        self.stop = stop_file(context.folder.path)
        config, available = context.config, ray.cluster_resources()
        needed = needed_by_run(config, beside_of(config), workers=context.remote)
        enough = needed["GPU"] <= available.get("GPU", 0)
        options = task_resources(config, context.remote, enough)
        # A run that fails is not begun again by itself: what it has trained goes on with the same command.
        self.task: Any = ray.remote(max_retries=0, **options)(run_domain)

    def run(self) -> None:
        """Until all have ended.

        Raises:
            Interrupted: the user stopped them.
            RunError: some have failed.
        """
        self.stop.clear()
        asked: float | None = None
        try:
            while self.running or (self.waiting and asked is None):
                if self.context.stop.is_set() and asked is None:
                    self.stop.set()
                    asked = time.monotonic()
                if asked is None:
                    self._start()
                elif time.monotonic() - asked > PATIENCE_S:
                    break
                self._collect()
        finally:
            for ref in self.running:  # out of patience, or a second Ctrl-C: the last checkpoints remain
                ray.cancel(ref, force=True)
            self.stop.clear()
        self._conclude()

    def _start(self) -> None:
        while self.waiting and len(self.running) < self.at_once:
            domain = next(iter(self.waiting))
            self.context.metrics.write(DomainStartedEvent(domain=domain))
            self.running[self.task.remote(self.waiting.pop(domain))] = domain

    def _collect(self) -> None:
        ready, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL_S)
        for ref in ready:
            domain = self.running.pop(ref)
            self.ended[domain] = self._outcome(domain, ref)
            self.context.metrics.write(self.ended[domain])

    def _outcome(self, domain: str, ref: ray.ObjectRef) -> DomainEndedEvent:
        try:
            return DomainEndedEvent(domain=domain, state="done", value=ray.get(ref))
        except RayTaskError as error:
            cause = cause_of(error)
            if isinstance(cause, Interrupted):
                return DomainEndedEvent(domain=domain, state="stopped", reason=str(cause))
            if not isinstance(cause, RaykdError):
                log.error("domain %s: %s", domain, error)  # none of ours: with its traceback
                cause = error.cause
                return _failed(domain, f"{type(cause).__name__}: {one_line(cause, 500)}")
            return _failed(domain, str(cause))
        except RayError as error:
            return _failed(domain, f"its process died: {first_line(error)}")

    def _conclude(self) -> None:
        done = [domain for domain, event in self.ended.items() if event.state == "done"]
        failed = {domain: event for domain, event in self.ended.items() if event.state == "failed"}
        if self.waiting or len(done) + len(failed) < len(self.ended) or self.running:
            what = f"stopped with {self.finished + len(done)} of {self.domains} domains done"
            raise Interrupted("domains", what, "the same command resumes")
        if failed:
            first, event = next(iter(failed.items()))
            others = f"; failed too: {', '.join(list(failed)[1:])}" if len(failed) > 1 else ""
            mend = "mend that and give the same command: finished domains are kept"
            raise RunError(f"domain {first}", f"{event.reason}{others}", mend)


def _failed(domain: str, reason: str) -> DomainEndedEvent:
    return DomainEndedEvent(domain=domain, state="failed", reason=reason)
