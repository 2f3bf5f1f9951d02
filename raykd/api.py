"""What a notebook calls, and the command line too: `check`, `teach`, `distill`, `evaluate`, `report`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raykd import runtime
from raykd.config import RunConfig
from raykd.errors import ConfigError
from raykd.observe.metrics_log import MetricsLog
from raykd.observe.progress import Progress
from raykd.report import card, page
from raykd.student import trainer
from raykd.student.folder import RunFolder
from raykd.student.plan import make_plan
from raykd.student.result import score
from raykd.student.scene import Scene, open_corpus
from raykd.training.interrupt import interruptible
from raykd.training.job import Signal

log = logging.getLogger(__name__)


def check(config: RunConfig) -> dict[str, Any]:
    """Validates configuration and data and returns the plan: steps, actors, resources, memory. Runs nothing.

    Raises:
        DataError, ModelError: what a run would stop at.
    """
    return make_plan(config, *open_corpus(config))


def distill(config: RunConfig, output: Path | None = None) -> dict[str, Any]:
    """Teaches the teachers if needed, serves them, trains the student and its baselines, writes the run's folder.

    A finished folder returns its result; an unfinished one goes on where it stopped.

    Args:
        output: the run's folder; default `runs/NAME`.

    Returns:
        The content of result.json.

    Raises:
        ConfigError, DataError, ModelError: the configuration, data or a checkpoint cannot be used.
        TeacherError, RunError: the run failed.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint is saved.
    """
    folder = _folder(config, output)
    with folder.claimed(config):
        done = folder.result()
        if done is not None:
            log.info("%s is finished; its result stands", folder.path)
            return done
        with _scene(config, folder) as scene:
            result = trainer.distill(scene)
            scene.metrics.write("done")
        text = card.model_card(result, config.model_dump(mode="json", by_alias=True))
        (folder.path / "student" / "README.md").write_text(text, encoding="utf-8")
        # The result stands before the page that is drawn from it: a finished run is finished, whatever the page does.
        folder.write_json(folder.path / "result.json", result)
        page.render(folder.path)
    return result


def teach(config: RunConfig, output: Path | None = None) -> list[dict[str, Any]]:
    """Prepares the teachers; those whose fingerprint is in the cache are skipped. Errors as for `distill`.

    Returns:
        Name, folder and parameters of each teacher.
    """
    folder = _folder(config, output)
    with folder.claimed(config), _scene(config, folder) as scene:
        teachers, warnings = trainer.prepare_teachers(scene)
    for warning in warnings:
        log.warning("%s", warning)
    return [{"name": t.name, "folder": t.folder, "parameters": t.parameters} for t in teachers]


def evaluate(checkpoint: Path, config: RunConfig) -> dict[str, Any]:
    """A student's or teacher's scores on the validation rows, and on the test rows where the configuration has them.

    Raises:
        ConfigError: there is no such checkpoint.
    """
    if not (checkpoint / "config.json").exists():
        raise ConfigError(str(checkpoint), "holds no checkpoint", "for example runs/NAME/student")
    corpus, task = open_corpus(config)
    length = config.data.max_length
    purposes = [purpose for purpose in ("validation", "test") if purpose in corpus.ids]
    return {purpose: score(checkpoint, Signal.of(corpus, purpose), task, length) for purpose in purposes}


def report(folder: Path) -> Path:
    """Draws the page and pictures of a run anew; returns the page's path.

    Raises:
        ConfigError: the folder holds no run.
    """
    return page.render(folder)


@contextlib.contextmanager
def _scene(config: RunConfig, folder: RunFolder) -> Iterator[Scene]:
    """Data and checkpoints looked at first, so that a mistake in them costs seconds and no teacher; then Ray."""
    corpus, task = open_corpus(config)
    make_plan(config, corpus, task)
    folder.settle(config)
    with interruptible() as stop, runtime.connected(config) as remote, Progress(folder.path):
        yield Scene(config, folder, corpus, task, remote, stop, MetricsLog(folder.path / "metrics.jsonl"))


def _folder(config: RunConfig, output: Path | None) -> RunFolder:
    return RunFolder((output or Path("runs") / config.name).expanduser().resolve())
