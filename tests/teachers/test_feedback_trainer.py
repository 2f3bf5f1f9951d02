"""The teacher that learns, without Ray: its own losses against autograd, what it refuses, saving, recomputing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stand_ins import SEAT
from tiny import generated_corpus
from transformers import PreTrainedModel

from raykd import models
from raykd.config import DataConfig, MetaDistilConfig, ModelConfig, TaskConfig
from raykd.data import corpus as corpora
from raykd.data.corpus import Corpus
from raykd.data.splits import Split
from raykd.data.tasks import Task
from raykd.errors import ModelError, TeacherError
from raykd.models import forward
from raykd.teachers.feedback.gradient_metrics import cosine
from raykd.teachers.feedback.message import TeacherFeedback
from raykd.teachers.feedback.trainer import TeacherTrainer, TeacherTrainerSpec
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Subset

KEY = (0, 0, 0)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> TeacherTrainerSpec:
    folder = tmp_path_factory.mktemp("learner")
    corpus, task = generated_corpus(folder / "cache", rows=100, validation_rows=50)
    global SPLIT
    SPLIT = corpus.splits["train"]
    return spec_of(corpus, task, (1, 0), folder / "teacher")


@pytest.fixture
def regression(tmp_path: Path) -> tuple[TeacherTrainerSpec, Split]:
    """A teacher of one logit, and rows whose labels are no whole numbers."""
    for name in ("train", "validation"):
        lines = [f"word{k % 7} word{k % 5},{k / 8}" for k in range(60)]
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    corpus = corpora.load(DataConfig(source=str(tmp_path)), TaskConfig(type="regression"), tmp_path / "cache")
    return spec_of(corpus, Task("regression", "pearson"), (0,), tmp_path / "teacher"), corpus.splits["train"]


def spec_of(corpus: Corpus, task: Task, columns: tuple[int, ...], folder: Path) -> TeacherTrainerSpec:
    """A trainer, by plain SGD, of a random teacher in float64."""
    shape = ModelConfig(layers=2, hidden_size=16, heads=2, vocab_size=300, dropout=0.1)
    model, tokenizer = models.build(shape, task, Subset.of(corpus, "train").texts(), 0, 24)
    models.save(model.double(), tokenizer, folder)
    prepared = TeacherModel(
        name="one", folder=str(folder), columns=columns, labels=task.labels, max_length=24,
        dtype="float64", weights="w", tokenizer="t", parameters=1,
    )  # fmt: skip
    feedback = MetaDistilConfig(teacher_optimizer="sgd", teacher_lr=0.5, teacher_max_grad_norm=None)
    return TeacherTrainerSpec(prepared, task, feedback, 2.0, 4, SEAT)


SPLIT: Any = None
IDS = np.array([5, 3, 17, 40])


def changed(spec: TeacherTrainerSpec, **settings: Any) -> TeacherTrainerSpec:
    return replace(spec, feedback=spec.feedback.model_copy(update=settings))


def trained(
    spec: TeacherTrainerSpec, message: TeacherFeedback, measure: bool = False, split: Split | None = None
) -> tuple[TeacherTrainer, dict[str, float]]:
    """A trainer after one step on rows of `SPLIT`, or of another."""
    learner = TeacherTrainer(spec)
    learner.serve(0, split or SPLIT, IDS, KEY)
    learner.feedback(0, KEY, message)
    return learner, learner.step(0, measure)


def random_feedback(seed: int = 0, classes: int = 2) -> TeacherFeedback:
    draw, shape = np.random.default_rng(seed).normal, (4, classes)
    return TeacherFeedback(draw(size=shape), 6, draw(size=shape), draw(size=shape), draw(size=shape))


ALL_TERMS = {"weight": 0.7, "teacher_ce": 0.4, "teacher_kd": 0.3, "teacher_reference_kl": 0.2}


def gradients_of(output: torch.Tensor, model: PreTrainedModel, slope: torch.Tensor | None = None) -> list[torch.Tensor]:
    """Of the output, or of ⟨slope, output⟩, for every parameter; 0 where it plays no part."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(output, parameters, slope, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]


def assert_stepped_by(
    gradients: dict[str, list[torch.Tensor]], model: PreTrainedModel, learner: TeacherTrainer, metrics: dict[str, float]
) -> None:
    """θ₁ = θ₀ − μ Σ of these gradients by term, of the parameters of `model`; and their norms are measured."""
    for name, parts in gradients.items():
        norm = torch.stack([part.norm() for part in parts]).norm()
        assert metrics[f"norm_{name}"] == pytest.approx(float(norm), rel=1e-9)
    sums = [torch.stack(parts).sum(0) for parts in zip(*gradients.values(), strict=True)]
    for before, after, gradient in zip(model.parameters(), learner._model.parameters(), sums, strict=True):
        torch.testing.assert_close(after.detach(), before.detach() - 0.5 * gradient, rtol=1e-9, atol=1e-12)
    assert (metrics["version"], learner.version) == (1, 1)


@pytest.mark.parametrize("recompute", [False, True])
def test_every_term_is_the_gradient_of_its_loss(spec: TeacherTrainerSpec, recompute: bool) -> None:
    """θ₁ = θ₀ − μ ∇(ω⟨c, z⟩ + γ CE + κ τ² KL(S ‖ T) + a KL(reference ‖ T)), rows weigh 1/6, columns are swapped."""
    message = random_feedback()
    learner, metrics = trained(changed(spec, recompute=recompute, **ALL_TERMS), message, measure=True)
    model, _ = models.load(spec.teacher.folder, torch.float64)
    encoder = learner._local.encoder(SPLIT)
    z = forward.logits(model, encoder.encode(IDS))[:, [1, 0]]
    assert message.student is not None
    assert message.reference is not None
    student, reference = torch.from_numpy(message.student), torch.from_numpy(message.reference)
    labels = torch.from_numpy(encoder.rows.labels(IDS))
    kd = 4 * F.kl_div(F.log_softmax(z / 2, -1), F.softmax(student / 2, -1), reduction="sum")
    reference_kl = F.kl_div(F.log_softmax(z, -1), F.softmax(reference, -1), reduction="sum")
    terms = {
        "feedback": 0.7 * (torch.from_numpy(message.cotangent) * z).sum(),
        "ce": 0.4 * F.cross_entropy(z, labels, reduction="sum") / 6,
        "kd": 0.3 * kd / 6,
        "reference": 0.2 * reference_kl / 6,
    }
    gradients = {name: gradients_of(term, model) for name, term in terms.items()}
    assert_stepped_by(gradients, model, learner, metrics)


def test_every_term_of_a_regression_is_a_squared_difference(regression: tuple[TeacherTrainerSpec, Split]) -> None:
    """θ₁ = θ₀ − μ Jᵀ(ω c + 2γ(z − y)/6 + 2κ(z − s)/6 + 2a(z − r)/6): no temperature, and slopes written out by hand."""
    spec, split = regression
    message = random_feedback(classes=1)
    learner, metrics = trained(changed(spec, **ALL_TERMS), message, measure=True, split=split)
    model, _ = models.load(spec.teacher.folder, torch.float64)
    encoder = learner._local.encoder(split)
    z = forward.logits(model, encoder.encode(IDS))
    assert z.shape == (4, 1)
    assert message.student is not None
    assert message.reference is not None
    own, labels = z.detach().numpy(), IDS[:, None] / 8
    slopes = {
        "feedback": 0.7 * message.cotangent,
        "ce": 0.4 * 2 * (own - labels) / 6,
        "kd": 0.3 * 2 * (own - message.student) / 6,
        "reference": 0.2 * 2 * (own - message.reference) / 6,
    }
    gradients = {name: gradients_of(z, model, torch.from_numpy(slope)) for name, slope in slopes.items()}
    assert_stepped_by(gradients, model, learner, metrics)


def test_measuring_changes_nothing_and_noise_is_distinguished_from_signal(spec: TeacherTrainerSpec) -> None:
    message = random_feedback()
    plain, _ = trained(spec, message)
    measured, metrics = trained(spec, message, measure=True)
    for unmeasured, parameter in zip(plain._parameters, measured._parameters, strict=True):
        assert torch.equal(unmeasured, parameter)
    assert -1 < metrics["cosine_quiz"] < 1
    assert trained(spec, replace(message, second=2 * message.cotangent), True)[1]["cosine_quiz"] == pytest.approx(1)
    assert trained(spec, replace(message, second=-message.cotangent), True)[1]["cosine_quiz"] == pytest.approx(-1)


def test_what_it_refuses(spec: TeacherTrainerSpec) -> None:
    learner, message = TeacherTrainer(spec), random_feedback()
    learner.serve(0, SPLIT, IDS, KEY)
    with pytest.raises(TeacherError, match="was served for feedback and none came"):
        learner.step(0, False)
    with pytest.raises(TeacherError, match="was not served"):
        learner.feedback(0, (0, 0, 1), message)
    with pytest.raises(TeacherError, match=r"shape \(3, 2\) for logits of shape \(4, 2\)"):
        learner.feedback(0, KEY, TeacherFeedback(message.cotangent[:3], 6))
    with pytest.raises(TeacherError, match="not finite"):
        learner.feedback(0, KEY, TeacherFeedback(message.cotangent * np.nan, 6))
    learner.feedback(0, KEY, message)
    with pytest.raises(TeacherError, match="came twice"):
        learner.feedback(0, KEY, message)
    learner.step(0, False)
    for call in (
        lambda: learner.feedback(0, KEY, message),
        lambda: learner.serve(0, SPLIT, IDS, None),
        lambda: learner.step(2, False),
    ):
        with pytest.raises(TeacherError, match="it is at 1"):
            call()


def test_saved_and_restored_goes_on_bit_equal(spec: TeacherTrainerSpec, tmp_path: Path) -> None:
    adam = changed(spec, teacher_optimizer="adamw", teacher_max_grad_norm=1.0)
    learner, _ = trained(adam, random_feedback(), measure=True)
    learner.save(tmp_path)
    other = TeacherTrainer(adam)
    assert other.restore(tmp_path) == 1
    metrics = []
    for trainer in (learner, other):
        trainer.serve(1, SPLIT, IDS, (1, 0, 0))
        trainer.feedback(1, (1, 0, 0), random_feedback(1))
        metrics.append(trainer.step(1, True))
    assert metrics[0] == metrics[1]
    assert all(torch.equal(a, b) for a, b in zip(learner._parameters, other._parameters, strict=True))
    assert learner.drift() == other.drift() > 0


@pytest.mark.parametrize(
    ("which", "share"), [("all", 1.0), ("head", 0.1), ("last_1", 0.5), ("layer.0.attention", 0.5), ("last_2", 0.9)]
)
def test_only_what_is_trainable_learns(spec: TeacherTrainerSpec, which: str, share: float) -> None:
    learner, _ = trained(changed(spec, trainable=which), random_feedback())
    model, _ = models.load(spec.teacher.folder, torch.float64)
    chosen = set(models.trainable_names(model, which, "here"))
    moved = {
        name
        for (name, before), after in zip(model.named_parameters(), learner._model.parameters(), strict=True)
        if not torch.equal(before, after)
    }
    assert moved
    assert moved <= chosen
    assert len(chosen) <= share * len(list(model.parameters())) + 2
    with pytest.raises(ModelError, match="fits none of its parameters"):
        TeacherTrainer(changed(spec, trainable="nowhere"))
    with pytest.raises(ModelError, match="has 2 layers"):
        TeacherTrainer(changed(spec, trainable="last_3"))


def test_a_cosine_stays_exact_over_as_many_terms_as_a_teacher_has() -> None:
    one = torch.randn(3_000_001, generator=torch.Generator().manual_seed(0)) * 1e-3 + 1e-2
    other = -3 * one
    assert cosine(one, one) == pytest.approx(1, abs=1e-9)
    assert cosine(one, other) == pytest.approx(-1, abs=1e-6)  # -3 * one is rounded to float32


@pytest.mark.parametrize(("device", "backends"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl")])
def test_ranks_meet_through_the_backends_of_their_device(
    spec: TeacherTrainerSpec, monkeypatch: pytest.MonkeyPatch, device: str, backends: str
) -> None:
    """A measured round sums CPU tensors, a step those of the device."""
    asked: list[Any] = []
    trainer = TeacherTrainer(spec)
    monkeypatch.setattr(trainer._local, "device", torch.device(device))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *args, **kwargs: asked.append((args, kwargs)))
    trainer.join("tcp://127.0.0.1:1", 1, 2)
    assert asked == [((backends,), {"init_method": "tcp://127.0.0.1:1", "rank": 1, "world_size": 2})]
    assert trainer.world == 2
