"""What a notebook calls, and the command line too: `check`, `teach`, `distill`, `domains`, `study`, `compare`, …"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from raykd import config as configuration
from raykd import runtime
from raykd.compare import comparison
from raykd.config import RunConfig
from raykd.data.corpus import Corpus
from raykd.data.tasks import Task
from raykd.display.domains_view import DomainsProgress
from raykd.display.progress import RunProgress
from raykd.display.study_view import StudyProgress
from raykd.domains import driver as domains_driver
from raykd.domains.plan import check_config, check_folder, plan_domains
from raykd.errors import ConfigError
from raykd.files import write_text
from raykd.records.compare_result import CompareResult
from raykd.records.domains_result import DomainsResult
from raykd.records.events import DoneEvent
from raykd.records.log import MetricsLog
from raykd.records.run_result import RunResult
from raykd.records.study_result import StudyResult
from raykd.report import compare_page, domains_page, page, study_page
from raykd.run import driver as trainer
from raykd.run.answers import SPLITS, checkpoint_logits, scores_by_split
from raykd.run.context import RunContext, open_corpus
from raykd.run.folder import RunFolder
from raykd.run.plan import make_plan
from raykd.run.publish import publish
from raykd.run.targets import store_targets
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.interrupt import interruptible
from raykd.training.job import Subset

log = logging.getLogger(__name__)


def check(config: RunConfig) -> dict[str, Any]:
    """Validates configuration and data and returns the plan: steps, actors, resources, memory. Runs nothing.

    Raises:
        DataError, ModelError: what a run would stop at.
    """
    return make_plan(config, *open_corpus(config))


def distill(config: RunConfig, output: Path | None = None) -> RunResult:
    """Prepares the teachers if needed, serves them, trains the student and its baselines, writes the run's folder.

    A finished folder returns its result; an unfinished one is resumed.

    Args:
        output: the run's folder; default `runs/NAME`.

    Returns:
        What result.json holds.

    Raises:
        ConfigError, DataError, ModelError: the configuration, folder, data or a checkpoint cannot be used.
        TeacherError, RunError: the run failed.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint is saved.
    """
    folder = _folder(config, output)
    with folder.claimed(config):
        finished = folder.run_result()
        if finished is not None:
            log.info("%s is finished: this is its result", folder.path)
            return finished
        with _run_context(config, folder) as context:
            result = trainer.distill(context)
            context.metrics.write(DoneEvent())
        publish(folder, config, result)
    return result


def domains(config: RunConfig, output: Path | None = None, names: Sequence[str] | None = None) -> DomainsResult:
    """One student for each domain of the data, as `distill` has it with `data.target_domain`, on shared teachers.

    A finished folder returns its result. In an unfinished one finished domains are kept and others resumed.

    Args:
        config: without a target domain, see `config.load(…, each_domain=True)`.
        output: the folder, in which each domain has one; default `runs/NAME`.
        names: of the domains; default all that labelled training rows are of.

    Returns:
        What result.json holds.

    Raises:
        ConfigError: the configuration has a target domain, filters domains or is a study's, a name is given twice, or
            the folder is another's.
        DataError: the rows have no domains, or not these.
        RunError: the run of a domain failed; the others are finished and kept. Other errors as for `distill`.
    """
    check_config(config)
    folder = _folder(config, output)
    with folder.claimed(config):
        finished = folder.domains_result()
        if finished is not None:
            check_folder(folder.path, names, config)
            log.info("%s is finished: this is its result", folder.path)
            return finished
        runs = plan_domains(config, folder.path, names)
        for run in runs:
            make_plan(run.config, run.corpus, run.task)
        whole = open_corpus(config)
        with _connected(config, folder, *whole, DomainsProgress, runs=len(runs)) as context:
            result = domains_driver.run(context, runs, named=names is not None)
            context.metrics.write(DoneEvent())
        folder.write_result(result)
        report(folder.path)
    return result


def study(config: RunConfig, output: Path | None = None, resume: bool = False) -> StudyResult:
    """Searches the space of `config.study` on shared teachers, repeats the best over seeds, writes the study's folder.

    Args:
        output: the study's folder; default `runs/NAME`. A finished one returns its result.
        resume: an unfinished one: finished trials are kept, running ones start from their checkpoints.

    Returns:
        What result.json holds.

    Raises:
        ConfigError: there is no section `study`, no valid point, or the folder holds an unfinished study and `resume`
            is not given; other errors as for `distill`.
    """
    # Ray Tune and Optuna take seconds to import, and only a study needs them.
    from raykd.study import driver, results, space

    if config.study is None:
        raise ConfigError("study", "the configuration has no section `study`", "see workloads/study_temperature.yaml")
    config, folder = space.shared_rows(config), _folder(config, output)
    with folder.claimed(config):
        finished = folder.study_result()
        if finished is not None:
            log.info("%s is finished: this is its result", folder.path)
            return finished
        if (folder.path / "tune").exists() and not resume:
            mend = "add --resume, or give another --output"
            raise ConfigError(str(folder.path), "holds an unfinished study", mend)
        with _run_context(config, folder, StudyProgress) as context:
            result = driver.run(context)
            context.metrics.write(DoneEvent())
        best = RunFolder(folder.path / result.best.folder)
        trial = best.run_result()
        assert trial is not None
        publish(best, configuration.load(best.path / "config.yaml"), results.best_run_result(trial, result))
        folder.write_result(result)
        report(folder.path)
    return result


def teach(config: RunConfig, output: Path | None = None, store: bool = False) -> list[dict[str, Any]]:
    """Prepares the teachers; those whose fingerprint is in the cache are skipped. Errors as for `distill`.

    Args:
        store: compute and store the soft targets too of all rows that `distill` would ask for. Interrupted or killed,
            the same command goes on: rows that are in a segment are not computed again.

    Returns:
        Name, folder and parameters of each teacher; with `store` the rows that are stored, those that were computed for
        it now, and the replicas' seconds.
    """
    folder = _folder(config, output)
    with folder.claimed(config), _run_context(config, folder) as context:
        teachers = _prepared(context)
        stored = store_targets(context, teachers) if store else [{} for _ in teachers]
    return [
        {"name": teacher.name, "folder": teacher.folder, "parameters": teacher.parameters, **cost}
        for teacher, cost in zip(teachers, stored, strict=True)
    ]


def serve_up(config: RunConfig, output: Path | None = None, idle_timeout_s: float | None = None) -> dict[str, Any]:
    """Prepares the teachers and leaves them on the cluster as the ensemble `config.name`, until `serve down`.

    One that is up with the same teachers is left as it is.

    Args:
        idle_timeout_s: it ends so long after its last user; None: never.

    Returns:
        Its status, see `raykd.serve.ensembles.status`.

    Raises:
        ConfigError: no cluster is named, or another ensemble of that name is up.
        TeacherError: a teacher cannot answer, and nothing is up; other errors as for `teach`.
    """
    from raykd.serve import ensembles

    folder, where = _folder(config, output), f"ensemble {config.name}"
    with runtime.joined(config.cluster.address, where), folder.claimed(config), _run_context(config, folder) as context:
        ensembles.up(context, _prepared(context), idle_timeout_s)
        context.phase("wait for the replicas")
        ensembles.probe(context, config.name)
        return ensembles.status(config.name)


def evaluate(checkpoint: Path, config: RunConfig) -> dict[str, dict[str, float]]:
    """A student's or teacher's scores on the validation rows, and on the test rows where the configuration has them.

    Raises:
        ConfigError: there is no such checkpoint.
    """
    if not (checkpoint / "config.json").exists():
        raise ConfigError(str(checkpoint), "holds no checkpoint", "for example runs/NAME/student")
    corpus, task = open_corpus(config)
    length = config.data.max_length
    subsets = {split: Subset.of(corpus, split) for split in SPLITS if split in corpus.ids}
    logits = {split: checkpoint_logits(checkpoint, subset, length) for split, subset in subsets.items()}
    return scores_by_split(logits, corpus, task)


def export(checkpoint: Path, kind: str = "onnx", output: Path | None = None, push: str | None = None) -> dict[str, Any]:
    """A student's or teacher's checkpoint in another format, with a parity check.

    Args:
        kind: onnx.
        output: the folder; default `onnx` in the checkpoint's.
        push: a hub repository that the checkpoint, its card and what was exported are uploaded to, private where it is
            made; nothing leaves this machine without it.

    Returns:
        path, inputs, difference of the logits; `pushed`: where to, if anywhere.

    Raises:
        ConfigError: there is no such format or checkpoint, or the format's packages are missing.
        ModelError: the export answers otherwise than the checkpoint; the hub refused the upload.
    """
    from raykd.models import export as formats
    from raykd.models import hub

    if kind != "onnx":
        raise ConfigError(f"export {checkpoint}", f"no format {kind!r}", "there is onnx")
    exported = formats.to_onnx(checkpoint, output or checkpoint / "onnx")
    if push is not None:
        exported["pushed"] = hub.push([checkpoint, Path(exported["path"]).parent], push)
    return exported


def report(folder: Path) -> Path:
    """Draws the page and pictures of a run, a study or several domains; returns the page's path.

    Raises:
        ConfigError: the folder holds none of them.
    """
    if domains_page.is_domains(folder):
        return domains_page.render(folder)
    return study_page.render(folder) if study_page.is_study(folder) else page.render(folder)


def compare(
    folders: Sequence[Path],
    reference: str | None = None,
    every_arm: bool | None = None,
    output: Path | None = None,
    seed: int = 0,
    drawn: Sequence[str] = (),
) -> CompareResult:
    """Compares runs by the rows that they answered: paired intervals over rows and draws, adjusted for their number.

    Args:
        folders: of finished runs; those that differ only in `seed`, `data.seed`, name and places are draws of one arm.
        reference: the arm that the others are compared with, or a folder of its runs; default the first.
        every_arm: compare baselines and teachers too; by default where all runs are draws of one configuration.
        output: a folder that compare.html and compare.json are written to.
        seed: of the bootstrap.
        drawn: further keys in which draws of one arm differ, such as `data.quiz` where a script draws a file for each.

    Raises:
        ConfigError: a folder holds no finished run, or the runs cannot be compared: other rows, labels or metrics.
    """
    result = comparison.compare(folders, reference, every_arm, seed, drawn)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "compare.json", result.model_dump_json(indent=1))
        compare_page.render(result, output)
    return result


def _prepared(context: RunContext) -> list[TeacherModel]:
    """The teachers of a configuration; what a person should know of their labels is logged."""
    teachers, warnings = trainer.prepare_teachers(context)
    for warning in warnings:
        log.warning("%s", warning)
    return teachers


@contextlib.contextmanager
def _run_context(
    config: RunConfig, folder: RunFolder, display: type[RunProgress] = RunProgress
) -> Iterator[RunContext]:
    """Data and checkpoints looked at first, so that a mistake in them costs seconds and no teacher; then Ray."""
    corpus, task = open_corpus(config)
    make_plan(config, corpus, task)
    with _connected(config, folder, corpus, task, display) as context:
        yield context


@contextlib.contextmanager
def _connected(
    config: RunConfig, folder: RunFolder, corpus: Corpus, task: Task, display: type[RunProgress], runs: int = 1
) -> Iterator[RunContext]:
    """The folder's configuration written, Ray started or joined for so many runs, and the display.

    Raises:
        RunError: no Ray answers at the address.
    """
    folder.write_config(config)
    with interruptible() as stop, runtime.connected(config, runs) as remote, display(folder.path):
        yield RunContext(config, folder, corpus, task, remote, stop, MetricsLog(folder.path / "metrics.jsonl"))


def _folder(config: RunConfig, output: Path | None) -> RunFolder:
    return RunFolder((output or Path("runs") / config.name).expanduser().resolve())
