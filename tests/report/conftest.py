"""Run folders as the trainer would leave them, with numbers from a seeded model of learning curves."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from raykd.records.log import MetricsLog

STEPS, EPOCHS, EVALS = 600, 5, 10


def trained(
    log: MetricsLog, rng: np.random.Generator, end: float, metric: str, soft: bool, steps: int = STEPS
) -> float:
    """Writes plan, steps and evaluations of a training that has `end` as its best value; returns the best value."""
    log.write("plan", steps=STEPS, epochs=EPOCHS, samples=STEPS // EPOCHS * 32, batch_size=32, metric=metric)
    values = [end - (end - 0.5) * math.exp(-k / 2 * 1.1) + rng.normal(0, 0.004) for k in range(1, EVALS + 1)]
    values = [value + end - max(values) for value in values]
    best = 0.0
    for step in range(10, steps + 1, 10):
        epoch = step / STEPS * EPOCHS
        hard = 0.69 * math.exp(-step / 180) + 0.16 + rng.normal(0, 0.025)
        parts = {"soft": 0.42 * math.exp(-step / 150) + 0.05 + rng.normal(0, 0.01), "hard": hard} if soft else {}
        loss = sum(parts.values()) / 2 if parts else hard
        log.write(
            "step", step=step, epoch=epoch, loss=loss, **parts, lr=3e-4 * (1 - step / STEPS), grad_norm=1.0,
            samples_per_s=rng.normal(610, 12), wait_share=0.021 if soft else 0.0,
        )  # fmt: skip
        if step % (STEPS // EVALS) == 0:
            value = values[step * EVALS // STEPS - 1]
            loss = 0.69 * math.exp(-step / 120) + (0.34 if soft else 0.38) + 0.0001 * step * (0.5 if soft else 1.4)
            scores = {metric: value, "f1" if metric == "accuracy" else "spearman": value - 0.01}
            log.write("eval", step=step, epoch=epoch, scores=scores, loss=loss, best=value > best)
            best = max(best, value)
    return best


def fed(log: MetricsLog, rng: np.random.Generator, names: tuple[str, ...], steps: int = STEPS) -> None:
    """Writes the feedback events of a MetaDistil run: a round each other step, measured in every tenth."""
    for step in range(0, steps + 1, STEPS // EVALS):
        evals = {
            name: {
                "version": step // 2, "drift": 4e-4 * math.sqrt(step) * (k + 1) / 10,
                "scores": {"accuracy": 0.891 - 0.021 * k + (0.008 - 0.012 * k) * step / STEPS + rng.normal(0, 1e-3)},
            }
            for k, name in enumerate(names)
        }  # fmt: skip
        log.write("teacher_eval", step=step, epoch=step / STEPS * EPOCHS, teachers=evals)
    for step in range(2, steps + 1, 2):
        before = 0.69 * math.exp(-step / 180) + 0.3 + rng.normal(0, 0.08)
        teachers: dict[str, dict[str, float]] = {
            name: {"version": step // 2, "norm_feedback": 0.02, "norm_ce": 1.5, "grad_norm": 1.5, "lr": 5e-6}
            for name in names
        }
        if step % 20 == 0:
            for k, one in enumerate(teachers.values()):
                one["cosine_quiz"] = 0.3 - 0.12 * k + rng.normal(0, 0.15)
                if step > 20:
                    one["cosine_last"] = 0.15 - 0.05 * k + rng.normal(0, 0.15)
        log.write(
            "feedback", step=step, epoch=step / STEPS * EPOCHS, quiz_before=before,
            quiz_after=before - 0.004 - rng.normal(0, 0.004), teachers=teachers, wire_bytes=8192, seconds=0.05,
        )  # fmt: skip


def a_feedback(names: tuple[str, ...], kind: str = "metadistil") -> dict[str, Any]:
    """The part `feedback` of a result.json; the first teacher ends better, the second worse, the third the same."""
    ends = [(0.891, 0.899, "better"), (0.870, 0.866, "worse"), (0.857, 0.857, "same")]
    return {
        "type": kind, "route": "forward", "route_reason": "torch.func.jvp runs on this student", "rounds": 300,
        "surrogate": "v is divided by Adam's second moments, held constant" if kind == "ikd" else None,
        "split": "quiz", "quiz_before": 0.4321, "quiz_after": 0.4289, "cosine_quiz": 0.21, "seconds": 14.83,
        "wire_bytes": 2_457_600,
        "teachers": {
            name: {"began": {"accuracy": began, "f1": 0.8}, "ended": {"accuracy": ended, "f1": 0.8},
                   "verdict": verdict, "drift": 0.00098 * (k + 1), "versions": 300, "folder": f"teachers/{name}"}
            for k, (name, (began, ended, verdict)) in enumerate(zip(names, ends * len(names), strict=False))
        },
    }  # fmt: skip


def confusion(rng: np.random.Generator, classes: int, right: float, rows: int) -> list[list[int]]:
    """Counts with about `right` of the rows on the diagonal."""
    share = np.full((classes, classes), (1 - right) / max(classes - 1, 1))
    np.fill_diagonal(share, right)
    return [[int(n) for n in rng.multinomial(rows // classes, row)] for row in share]


def a_result(seed: int = 0, student: float = 0.834, alone: float = 0.798, teacher: float = 0.891) -> dict[str, Any]:
    """A whole result.json of a classification."""
    rng = np.random.default_rng(seed)
    names = {"wordpiece-4x128": teacher, "bpe-2x96": teacher - 0.021, "wordpiece-2x64": teacher - 0.034}
    scores = {"accuracy": student, "f1": student - 0.006, "matthews": 2 * student - 1}
    return {
        "name": "reviews", "kind": "distill", "status": "done", "metric": "accuracy", "value": student,
        "scores": scores, "best_step": 480, "steps": STEPS, "epochs": EPOCHS,
        "test": {"accuracy": student - 0.008, "f1": student - 0.012},
        "teachers": [
            {
                "name": name, "metric": value, "scores": {"accuracy": value, "f1": value - 0.005, "matthews": 0.7},
                "version": 0, "forwards": 47, "rows_computed": 3840 * (k < 2), "rows_reused": 3840 * (k == 2),
                "seconds": 9.5 - 3 * k, "parameters": 1_530_000 // (k + 1), "address": f"{rng.integers(2**60):015x}",
            }
            for k, (name, value) in enumerate(names.items())
        ],
        "baselines": {
            "alone": {"value": alone, "scores": {"accuracy": alone, "f1": 0.79, "matthews": 0.6}, "seconds": 31.0,
                      "samples_per_s": 622.0},
            "in_loop": {"value": student - 0.001, "scores": {"accuracy": student - 0.001}, "seconds": 88.1,
                        "samples_per_s": 218.0},
        },
        "gap": {"teacher": teacher, "alone": alone, "student": student,
                "closed": (student - alone) / (teacher - alone) if teacher > alone else None},
        "efficiency": {"samples_per_s": 607.0, "student_only_samples_per_s": 621.0, "ratio": 607 / 621,
                       "wait_share": 0.021, "hit_rate": 0.99, "train_s": 31.6,
                       "targets_s": 20.4},
        "confusion": confusion(rng, 2, student, 872), "labels": ["negative", "positive"],
        "student": {"parameters": 184_000, "layers": 1, "hidden_size": 32},
        "splits": {
            "train": {"split": "train", "rows": 3840, "used_for": ["student", "teachers"]},
            "validation": {"split": "validation", "rows": 872, "used_for": ["evaluation", "best checkpoint"]},
            "test": {"split": "test", "rows": 1821, "used_for": ["the figure under test"]},
        },
        "data": {"overlap": 0, "fingerprint": f"{rng.integers(2**60):015x}"}, "warnings": [], "seed": seed,
        "versions": {"raykd": "0.1.0", "ray": "2.60.0", "torch": "2.13.0", "transformers": "5.2.0", "python": "3.11.7"},
        "seconds": 148.3,
    }  # fmt: skip


def a_config() -> dict[str, Any]:
    """The resolved configuration of that run, with local paths in it."""
    return {
        "name": "reviews", "seed": 0, "task": {"type": "classification", "metric": None, "labels": None},
        "data": {"source": "/somewhere/private/reviews", "subset": None, "text_pair": None, "max_length": 64},
        "teachers": [
            {"name": "wordpiece-4x128", "prepare": "finetune",
             "model": {"from": None, "layers": 4, "hidden_size": 128, "heads": 4, "tokenizer": "wordpiece"}},
            {"name": "bpe-2x96", "prepare": "given",
             "model": {"from": "/somewhere/private/bpe-checkpoint", "layers": None}},
            {"name": "wordpiece-2x64", "prepare": "finetune", "model": {"from": "some-lab/encoder", "layers": [0, 5]}},
        ],
        "student": {"from": None, "layers": 1, "hidden_size": 32, "heads": 2, "tokenizer": "wordpiece"},
        "objective": {"type": "kl", "temperature": 2.0, "alpha": 0.5},
        "weighting": {"type": "uniform", "weights": None},
        "train": {"epochs": 5, "batch_size": 32, "lr": 3e-4, "schedule": "linear"},
        "baselines": ["alone", "in_loop"], "cache": "/somewhere/private/cache",
    }  # fmt: skip


@pytest.fixture
def make_result() -> Callable[..., dict[str, Any]]:
    return a_result


@pytest.fixture
def make_feedback() -> Callable[..., dict[str, Any]]:
    return a_feedback


@pytest.fixture
def make_confusion() -> Callable[..., list[list[int]]]:
    return confusion


@pytest.fixture
def result() -> dict[str, Any]:
    return a_result()


@pytest.fixture
def config() -> dict[str, Any]:
    return a_config()


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run's folder: `result` {} leaves it unfinished, after `steps` steps; `taught` teachers get feedback."""

    def make(
        result: dict[str, Any],
        baselines: tuple[str, ...] = ("alone", "in_loop"),
        steps: int = STEPS,
        taught: tuple[str, ...] = (),
    ) -> Path:
        folder, rng = tmp_path / "reviews", np.random.default_rng(7)
        metric = result.get("metric", "accuracy")
        ends = {"student": result.get("value", 0.834), "alone": 0.798, "in_loop": 0.833}
        ends |= {name: one["value"] for name, one in result.get("baselines", {}).items()}
        log = MetricsLog(folder / "metrics.jsonl")
        log.write("phase", phase="soft targets")
        log.write("targets", teacher="wordpiece-4x128", rows=3840, of=3840)
        log.write("phase", phase="student")
        trained(log, rng, ends["student"], metric, soft=True, steps=steps)
        if taught:
            fed(log, rng, taught, steps)
        if result:
            log.write("done")
        for name in baselines:
            log = MetricsLog(folder / f"baselines/{name}/metrics.jsonl")
            trained(log, rng, ends[name], metric, soft=name == "in_loop")
        (folder / "config.yaml").write_text(yaml.safe_dump(a_config(), sort_keys=False))
        if result:
            (folder / "result.json").write_text(json.dumps(result))
        return folder

    return make


@pytest.fixture
def regression(make_run: Callable[..., Path]) -> Path:
    """A finished regression with predictions.parquet and no confusion matrix."""
    result = a_result(student=0.842, alone=0.811, teacher=0.879) | {"metric": "pearson", "labels": None}
    result["scores"] = {"pearson": 0.842, "spearman": 0.836, "mse": 0.71}
    for one in [*result["teachers"], *result["baselines"].values()]:
        one["scores"] = {}
    del result["confusion"], result["test"], result["splits"]["test"]
    folder = make_run(result)
    rng = np.random.default_rng(3)
    label = rng.uniform(0, 5, 1500)
    prediction = 0.8 * label + 0.5 + rng.normal(0, 0.7, len(label))
    pq.write_table(
        pa.table({"id": np.arange(len(label)), "label": label, "prediction": prediction}),
        folder / "predictions.parquet",
    )
    return folder
