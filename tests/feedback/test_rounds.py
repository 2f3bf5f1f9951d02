"""Whole runs whose teachers learn: one round against double backward, workers and ranks, faults, resuming."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
import torch.nn.functional as F
from logs import events, losses
from tiny import TINY_TEACHER, Configure, graded_rows
from torch.nn.attention import SDPBackend, sdpa_kernel

from raykd import api, models
from raykd.config import RunConfig
from raykd.data.encoding import Encoder
from raykd.models import forward
from raykd.records.events import StepEvent
from raykd.records.log import read_events
from raykd.run.arms import student_rows
from raykd.run.context import open_corpus
from raykd.training.batch_schedule import BatchSchedule
from raykd.training.job import Job, Subset, WorkerContext
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.training.supervised import SupervisedStepFactory

pytestmark = pytest.mark.usefixtures("ray_local")

EXACT = ["train.precision=float64", "teachers.0.precision=float64", "feedback.measure_every=2"]
PLACE = WorkerContext(0, 1, torch.device("cpu"), 1)


def rounds(folder: Path) -> list[dict[str, float]]:
    """What each round measured, flat; times and bytes left out."""
    out = []
    for event in events(folder, "feedback"):
        numbers = {key: value for key, value in event.model_dump(exclude_none=True).items() if key.startswith("quiz")}
        for name, step in event.teachers.items():
            numbers |= {f"{name}.{key}": value for key, value in step.model_dump(exclude_none=True).items()}
        out.append(numbers)
    return out


def assert_close(some: list[dict[str, float]], other: list[dict[str, float]], rtol: float) -> None:
    assert [sorted(numbers) for numbers in some] == [sorted(numbers) for numbers in other]
    for mine, theirs in zip(some, other, strict=True):
        np.testing.assert_allclose(
            [mine[key] for key in sorted(mine)], [theirs[key] for key in sorted(mine)], rtol, 1e-12
        )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return models.load(folder, torch.float64)[0].state_dict()


def job_of(config: RunConfig, folder: Path) -> Job:
    corpus, task = open_corpus(config)
    return Job(
        folder="", metrics="", model=str(folder / "start"), task=task, train=student_rows(config, corpus),
        validation=Subset.of(corpus, "validation"), settings=config.train, seed=config.seed,
        max_length=config.data.max_length, step=SupervisedStepFactory(),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [[], ["data.max_train_rows=120", "data.unlabeled=rest"]],
    ids=["gold", "half gold"],
)
def test_one_round_over_the_service_is_the_double_backward(
    configure: Configure, tmp_path: Path, part: list[str]
) -> None:
    """θ_T moves by −μ/η ∇_{θ_T} ℓ: SGD, no clipping, float64, through real actors; the gradient taken here by
    create_graph through the pilot's step on the checkpoints that the run started from."""
    rate, pilot = 0.5, 0.1
    config = configure(
        *EXACT, *part, "train.max_steps=1", "feedback.type=metadistil", "objective.alpha=0.7",
        "feedback.teacher_optimizer=sgd",
        f"feedback.teacher_lr={rate}", "feedback.teacher_max_grad_norm=null", f"feedback.pilot_lr={pilot}",
        "feedback.route=forward",
    )  # fmt: skip
    result = api.distill(config, tmp_path / "run")
    assert result.splits["quiz"].used_for == ["feedback to the teachers"]
    job = job_of(config, tmp_path / "run")
    folder = Path(api.teach(config, tmp_path / "teach")[0]["folder"])
    teacher, tokenizer = models.load(folder, torch.float64)
    student, own = models.load(tmp_path / "run" / "start", torch.float64)
    ids = BatchSchedule(job).batch(0)
    corpus, _ = open_corpus(config)
    quiz = Subset.of(corpus, "quiz")
    drawn = ReplacementSampler("quiz", Encoder(own, quiz.rows(), 24), quiz.ids, 32, config.seed, PLACE).draw(0, 0)
    rows = job.train.rows()

    def encode(of: Any, which: np.ndarray) -> dict[str, torch.Tensor]:
        return Encoder(of, rows, 24).encode(which)

    y, y_q = torch.from_numpy(rows.labels(ids)), torch.from_numpy(rows.labels(drawn))
    theta = dict(student.named_parameters())
    with sdpa_kernel(SDPBackend.MATH):  # the one with a second derivative
        teacher_logits = forward.logits(teacher, encode(tokenizer, ids))
        student_logits = forward.logits_at(student, theta, encode(own, ids))
    has = y >= 0
    assert bool(part) != bool(has.all())
    soft = 4 * F.kl_div(F.log_softmax(student_logits / 2, -1), F.softmax(teacher_logits / 2, -1), reduction="none").sum(
        1
    )
    hard = F.cross_entropy(student_logits[has], y[has], reduction="sum")
    loss = (0.7 * soft[has].sum() + soft[~has].sum() + 0.3 * hard) / len(y)
    grads = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
    phi = {name: p - pilot * g for (name, p), g in zip(theta.items(), grads, strict=True)}
    quiz_loss = F.cross_entropy(forward.logits_at(student, phi, encode(own, drawn)), y_q)
    assert events(tmp_path / "run", "feedback")[0].quiz_after == pytest.approx(float(quiz_loss.detach()), rel=1e-9)
    names = [name for name, _ in teacher.named_parameters()]
    wanted = torch.autograd.grad(quiz_loss, list(teacher.parameters()), allow_unused=True)
    moved = weights(tmp_path / "run" / "teachers" / "teacher0")
    for name, gradient in zip(names, wanted, strict=True):
        step = (dict(teacher.named_parameters())[name] - moved[name]) / rate * pilot
        expected = torch.zeros_like(step) if gradient is None else gradient
        torch.testing.assert_close(step, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("metadistil", marks=pytest.mark.nightly), "ikd"])
def test_without_feedback_a_teacher_just_goes_on_fine_tuning(configure: Configure, tmp_path: Path, kind: str) -> None:
    """ω = 0: plain SGD on the student's batches, and no quiz, whose loss nothing would use."""
    rate = 0.3
    config = configure(
        *EXACT, "train.max_steps=3", f"feedback.type={kind}", "feedback.weight=0", "feedback.teacher_ce=1",
        "feedback.teacher_optimizer=sgd", f"feedback.teacher_lr={rate}", "feedback.teacher_max_grad_norm=null",
        "feedback.teacher_schedule=constant",
    )  # fmt: skip
    result = api.distill(config, tmp_path / "run")
    measured = events(tmp_path / "run", "feedback")
    assert [event.teachers["teacher0"].version for event in measured] == [1, 2, 3]
    assert not any(key.startswith("quiz") for event in measured for key in event.model_dump(exclude_none=True))
    assert measured[2].teachers["teacher0"].norm_ce > 0
    assert result.feedback is not None
    assert result.feedback.cosine_quiz is None
    job = job_of(config, tmp_path / "run")
    teacher, tokenizer = models.load(Path(api.teach(config, tmp_path / "teach")[0]["folder"]), torch.float64)
    schedule, rows = BatchSchedule(job), job.train.rows()
    for step in range(3):
        ids = schedule.batch(step)
        logits = forward.logits(teacher.eval(), Encoder(tokenizer, rows, 24).encode(ids))
        F.cross_entropy(logits, torch.from_numpy(rows.labels(ids))).backward()
        with torch.no_grad():
            for parameter in teacher.parameters():
                if parameter.grad is not None:
                    parameter.sub_(rate * parameter.grad)
        teacher.zero_grad()
    trained = weights(tmp_path / "run" / "teachers" / "teacher0")
    for name, parameter in teacher.named_parameters():
        torch.testing.assert_close(trained[name], parameter.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("metadistil", ["train.workers=2", "feedback.ranks=2", "feedback.recompute=true"]),
        pytest.param("metadistil", ["train.workers=2"], marks=pytest.mark.nightly),
        ("ikd", ["train.workers=2", "feedback.ranks=2", "feedback.recompute=true"]),
    ],
)
def test_workers_and_ranks_change_nothing(configure: Configure, tmp_path: Path, kind: str, settings: list[str]) -> None:
    """One worker against two, and one rank against two: unequal shards of 33 rows, a last batch of few."""
    base = [
        *EXACT, "train.batch_size=33", "train.epochs=1", f"feedback.type={kind}", "feedback.teacher_lr=1e-3",
        "feedback.teacher_ce=0.5", "feedback.teacher_kd=0.3", "feedback.teacher_reference_kl=0.2",
        "feedback.quiz_batches=2",
    ]  # fmt: skip
    base += ["feedback.centred=true"] * (kind == "metadistil")
    api.distill(configure(*base, "train.gradient_accumulation=2"), tmp_path / "one")
    assert len(rounds(tmp_path / "one")) == len(losses(tmp_path / "one")) == 7
    api.distill(configure(*base, *settings), tmp_path / "wide")
    np.testing.assert_allclose(losses(tmp_path / "wide"), losses(tmp_path / "one"), rtol=1e-8)
    assert_close(rounds(tmp_path / "wide"), rounds(tmp_path / "one"), rtol=1e-5)


@pytest.mark.slow
def test_some_teachers_learn_and_feedback_may_begin_late(configure: Configure, tmp_path: Path) -> None:
    teachers = [json.loads(json.dumps(TINY_TEACHER)) | {"name": name} for name in ("still", "eager", "keen")]
    teachers[1]["finetune"] |= {"seed": 1}
    teachers[2]["finetune"] |= {"seed": 2}
    config = configure(
        "feedback={type: metadistil, teachers: [eager, keen], start: 3, every: 2, teacher_lr: 1e-3, measure_every: 1}",
        "weighting={type: fixed, weights: [1, 2, 3]}", "baselines=[alone]", teachers=teachers,
    )  # fmt: skip
    result = api.distill(config, tmp_path)
    assert [event.step for event in events(tmp_path, "feedback")] == [4, 6, 8, 10, 12, 14]
    assert result.feedback is not None
    trained = result.feedback.teachers
    assert set(trained) == {"eager", "keen"}
    assert all(teacher.versions == 6 and (teacher.drift or 0) > 0 for teacher in trained.values())
    assert result.feedback.rounds == 6
    assert len(result.splits) == 3
    # The baseline has no use for a quiz: 240 rows in place of 216.
    baseline = events(tmp_path / "baselines" / "alone", "plan")[0]
    assert (baseline.samples, events(tmp_path, "plan")[0].samples) == (240, 216)
    before, after = (
        weights(Path(str(api.teach(config, tmp_path / "t")[1]["folder"]))),
        weights(tmp_path / "teachers/eager"),
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["metadistil", pytest.param("ikd", marks=pytest.mark.nightly)])
def test_a_stopped_run_goes_on_bit_equal(configure: Configure, tmp_path: Path, kind: str) -> None:
    """A teacher's trainer is killed in mid-epoch, dropout on: the run resumes and ends as if undisturbed."""
    student = {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 300, "dropout": 0.2}
    config = configure(
        f"feedback={{type: {kind}, teacher_lr: 1e-3, measure_every: 3}}", "train.checkpoint_every=2", student=student
    )
    api.distill(config, tmp_path / "whole")
    killed = threading.Thread(target=_kill_a_teacher_trainer, args=(tmp_path / "parts" / "metrics.jsonl",), daemon=True)
    killed.start()
    result = api.distill(config, tmp_path / "parts")
    killed.join()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert rounds(tmp_path / "parts") == rounds(tmp_path / "whole")
    whole, parts = weights(tmp_path / "whole/teachers/teacher0"), weights(tmp_path / "parts/teachers/teacher0")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert result.feedback is not None
    assert result.feedback.rounds == len(rounds(tmp_path / "whole")) == 14


def _kill_a_teacher_trainer(log: Path) -> None:
    while not any(isinstance(event, StepEvent) and event.step >= 5 for event in read_events(log)):
        time.sleep(0.01)
    actors = ray.util.list_named_actors(all_namespaces=True)
    (trainer,) = [actor for actor in actors if actor["name"].startswith("teacher-trainer-")]
    ray.kill(ray.get_actor(trainer["name"], trainer["namespace"]))


@pytest.mark.slow
def test_feedback_on_a_regression(configure: Configure, tmp_path: Path) -> None:
    """The teacher moves by −μ Jᵀc with c = 2αu/B, u by central differences: its squared-error slope is linear in it."""
    graded_rows(tmp_path, 240, 60)
    rate, pilot, alpha = 1e-3, 0.01, 0.7
    config = configure(
        *EXACT, "train.max_steps=1", "feedback.type=metadistil", "objective={type: mse, alpha: 0.7}",
        "feedback.teacher_optimizer=sgd", f"feedback.teacher_lr={rate}", "feedback.teacher_max_grad_norm=null",
        f"feedback.pilot_lr={pilot}", "feedback.route=forward", "task=regression",
        data={"source": str(tmp_path), "max_length": 24},
    )  # fmt: skip
    api.distill(config, tmp_path / "run")
    job = job_of(config, tmp_path / "run")
    teacher, tokenizer = models.load(Path(api.teach(config, tmp_path / "teach")[0]["folder"]), torch.float64)
    student, own = models.load(tmp_path / "run" / "start", torch.float64)
    ids, corpus = BatchSchedule(job).batch(0), open_corpus(config)[0]
    quiz, rows = Subset.of(corpus, "quiz"), job.train.rows()
    drawn = ReplacementSampler("quiz", Encoder(own, quiz.rows(), 24), quiz.ids, 32, config.seed, PLACE).draw(0, 0)
    y, y_q = torch.from_numpy(rows.labels(ids)), torch.from_numpy(rows.labels(drawn))
    read, read_quiz = Encoder(own, rows, 24).encode(ids), Encoder(own, rows, 24).encode(drawn)
    theta = dict(student.named_parameters())
    answers = forward.logits(teacher, Encoder(tokenizer, rows, 24).encode(ids))
    predicted = forward.logits_at(student, theta, read)[:, 0]
    loss = alpha * (predicted - answers[:, 0].detach()).square().mean() + (1 - alpha) * (predicted - y).square().mean()
    slopes = torch.autograd.grad(loss, list(theta.values()))
    phi = {n: (p - pilot * g).detach().requires_grad_() for (n, p), g in zip(theta.items(), slopes, strict=True)}
    quiz_loss = (forward.logits_at(student, phi, read_quiz)[:, 0] - y_q).square().mean()
    (event,) = events(tmp_path / "run", "feedback")
    assert event.quiz_after == pytest.approx(float(quiz_loss.detach()), rel=1e-9)
    v = dict(zip(phi, torch.autograd.grad(quiz_loss, list(phi.values())), strict=True))
    step = 1e-4 / float(torch.cat([g.flatten() for g in v.values()]).norm())
    ahead, behind = ({name: p.detach() + sign * step * v[name] for name, p in theta.items()} for sign in (1, -1))
    with torch.no_grad():
        u = (forward.logits_at(student, ahead, read) - forward.logits_at(student, behind, read)) / (2 * step)
    wanted = torch.autograd.grad(answers, list(teacher.parameters()), 2 * alpha / len(ids) * u, allow_unused=True)
    moved = weights(tmp_path / "run" / "teachers" / "teacher0")
    got = torch.cat([((p.detach() - moved[name]) / rate).flatten() for name, p in teacher.named_parameters()])
    like = zip(teacher.parameters(), wanted, strict=True)
    expected = torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in like])
    assert (got - expected).norm() < 1e-5 * expected.norm()
