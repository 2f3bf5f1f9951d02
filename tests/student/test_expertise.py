"""The weights e of rows and the loss on domain knowledge against rows one at a time, in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import TASK, prepared
from tiny import generated_corpus
from torch import Tensor

from raykd import models
from raykd.config import FeaturesConfig, ModelConfig, OptimConfig
from raykd.data.batch import Batch
from raykd.data.corpus import Corpus
from raykd.data.encoding import Encoder
from raykd.errors import ModelError
from raykd.models.capture import capture
from raykd.models.domain_head import DomainHead
from raykd.objective.feature_plan import EncoderShape, plan_features
from raykd.run.features import feature_teacher
from raykd.student.expertise import Expertise, Knowledge
from raykd.student.features import FeatureMatching, FeatureSource
from raykd.teachers.prototypes import Prototypes
from raykd.teachers.serving.client import TargetSource
from raykd.training.job import Job, Subset, WorkerContext
from raykd.training.supervised import SupervisedStepFactory

KNOWN = ("books", "kitchen")
"""The teacher's domains; the corpus has electronics too."""
SHARE, IDS = 0.3, np.array([4, 31, 8, 57, 18, 26, 40])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return generated_corpus(tmp_path_factory.mktemp("cache"), rows=100, validation_rows=50, domains=3)[0]


def vectors_of(ids: np.ndarray) -> np.ndarray:
    """h of rows: made up, the same for a row whenever it is asked for."""
    return np.stack([np.random.default_rng(int(row)).normal(size=6) + 0.5 for row in ids])


def prototypes() -> Prototypes:
    vectors = np.random.default_rng(100).normal(size=(2, 2, 6)) + 0.5
    return Prototypes(KNOWN, TASK.labels, vectors, SHARE)


def batch_of(corpus: Corpus, labels_B: Tensor, encoded: dict[str, Tensor] | None = None) -> Batch:
    return Batch(IDS, labels_B, encoded or {}, 0, 0, len(IDS))


def slow_weights(corpus: Corpus, labels_B: Tensor, teacher_BC: Tensor) -> list[float]:
    """e of each row from the formulas; a row without a label has the teacher's answer in p and in t."""
    weights = []
    for i, name in enumerate(corpus.rows("train").domains(IDS) or []):
        exponents = [math.exp(float(z)) for z in teacher_BC[i]]
        p = [x / sum(exponents) for x in exponents]
        label = int(labels_B[i]) if labels_B[i] >= 0 else p.index(max(p))
        h = vectors_of(IDS[i : i + 1])[0]
        cosines = {}
        for d, domain in enumerate(KNOWN):
            prototype = prototypes().vectors[d, label]
            cosines[domain] = float(h @ prototype) / math.sqrt(float(h @ h) * float(prototype @ prototype))
        if name in KNOWN:
            (other,) = (value for domain, value in cosines.items() if domain != name)
            t = SHARE * cosines[name] + (1 - SHARE) * other
        else:
            t = sum(cosines.values()) / 2
        weights.append((1 + max(t, 0.0)) / (math.exp((p[label] - 1) ** 2) + 1))
    return weights


def test_expertise_is_its_formula(corpus: Corpus) -> None:
    """With and without labels; t is taken once for each row and class."""
    torch.manual_seed(0)
    labels_B = torch.from_numpy(corpus.rows("train").labels(IDS))
    labels_B[[1, 4, 5]] = -1
    asked: list[int] = []

    def pooled(ids: np.ndarray) -> np.ndarray:
        asked.extend(ids.tolist())
        return vectors_of(ids)

    expertise = Expertise(prototypes(), pooled, corpus.rows("train"))
    for _ in range(2):
        teacher_BC = torch.randn(len(IDS), 2, dtype=torch.float64) * 2
        got_B = expertise.weights(batch_of(corpus, labels_B), teacher_BC)
        np.testing.assert_allclose(got_B.numpy(), slow_weights(corpus, labels_B, teacher_BC), rtol=1e-12)
        assert got_B.min() > 1 / (math.e + 1)
        assert got_B.max() < 1.0
    assert all(asked.count(row) <= 2 for row in IDS.tolist())
    assert asked.count(IDS[0]) == 1, "of a row with a label the class does not change"


def test_classes_in_another_order_have_their_own_prototypes() -> None:
    swapped = prototypes().in_order([1, 0])
    rows, domains, classes = vectors_of(IDS), ["books"] * len(IDS), np.arange(len(IDS)) % 2
    np.testing.assert_array_equal(
        swapped.scores(rows, domains, 1 - classes), prototypes().scores(rows, domains, classes)
    )
    assert swapped.labels == TASK.labels[::-1]
    for columns in ([0], [0, 0], [0, 1, 2]):
        with pytest.raises(ModelError, match=r"are of 2 classes"):
            prototypes().in_order(columns)


@pytest.mark.parametrize("widths", [(4, 4), (4, 7)])
def test_knowledge_is_its_formula(widths: tuple[int, int]) -> None:
    """D_i = mean (W_fit W (E[d] + m) − o_T)²; of equal widths nothing is fitted."""
    own, theirs = widths
    torch.manual_seed(0)
    knowledge = Knowledge(["a", "b"], own, theirs, torch.float64, seed=3)
    last_BLH, mask_BL = torch.randn(3, 5, own, dtype=torch.float64), torch.ones(3, 5, dtype=torch.int64)
    mask_BL[1, 2:] = 0
    teacher_BH = torch.randn(3, theirs, dtype=torch.float64)
    got_B = knowledge.per_example(last_BLH, mask_BL, ["b", "a", "c"], teacher_BH)
    state = {name: t.double().numpy() for name, t in knowledge.state_dict().items()}
    table = state["mixer.embedding"]
    for i, (embedded, length) in enumerate(((table[1], 5), (table[0], 2), (table.mean(0), 5))):
        mean = last_BLH[i, :length].numpy().mean(0)
        fitted = state["mixer.mix.weight"] @ (embedded + mean) + state["mixer.mix.bias"]
        if own != theirs:
            fitted = state["fit.weight"] @ fitted + state.get("fit.bias", 0.0)
        expected = sum((fitted[h] - float(teacher_BH[i, h])) ** 2 for h in range(theirs)) / theirs
        assert float(got_B[i].detach()) == pytest.approx(expected, rel=1e-10)


def matching_of(corpus: Corpus, folder: Path) -> tuple[FeatureMatching, Job]:
    """Hidden states and knowledge of a meta-teacher of two of the corpus' three domains, called in this process."""
    texts = corpus.rows("train").texts(corpus.ids["train"])
    for name, width, seed in (("teacher", 12, 0), ("student", 8, 1)):
        shape = ModelConfig(layers=1, hidden_size=width, heads=2, vocab_size=200, dropout=0.0)
        models.save(*models.build(shape, TASK, texts, seed, 24), folder / name)
    DomainHead(KNOWN, 12, torch.float64, 5).save(folder / "teacher", models.weights_fingerprint(folder / "teacher"))
    teacher = replace(prepared(folder / "teacher"), max_length=24)
    settings = FeaturesConfig.model_validate({"hidden": 0.7, "knowledge": 0.4})
    plan = plan_features(settings, EncoderShape(1, 8, 2), EncoderShape(1, 12, 2), 0)
    train = Subset.of(corpus, "train")
    source = TargetSource(feature_teacher(teacher, plan), train.split, "", "run", IDS, None)
    job = Job(
        folder="", metrics="", model=str(folder / "student"), task=TASK, train=train, validation=train,
        settings=OptimConfig(precision="float64"), seed=0, max_length=24, step=SupervisedStepFactory(),
    )  # fmt: skip
    place = WorkerContext(0, 1, torch.device("cpu"), 1)
    return FeatureMatching(FeatureSource(source, plan, settings), job, place, in_loop=True), job


def test_a_rows_expertise_weighs_that_rows_gradient(corpus: Corpus, tmp_path: Path) -> None:
    """Σ e_i g_i with the gradient g_i of each row's features alone; the mean weight gives another vector."""
    matching, job = matching_of(corpus, tmp_path)
    model, tokenizer = models.load(job.model, torch.float64)
    encoded = Encoder(tokenizer, corpus.rows("train"), 24).encode(IDS)
    labels_B = torch.from_numpy(corpus.rows("train").labels(IDS))
    labels_B[2] = -1
    batch = batch_of(corpus, labels_B, encoded)
    torch.manual_seed(1)
    logits_KBC = torch.randn(1, len(IDS), 2, dtype=torch.float64) * 3
    targets = matching.get(batch)
    trained = [p for p in (*model.parameters(), *matching.trained.parameters()) if p.requires_grad]

    def features() -> Tensor:
        _, captured = capture(model, encoded, matching.columns)
        return matching.per_example(captured, targets, batch, logits_KBC)

    def gradient(total: Tensor) -> Tensor:
        found = torch.autograd.grad(total, trained, allow_unused=True, retain_graph=True)
        return torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(found, trained, strict=True)]
        )

    plain_B = features()
    rows = torch.stack([gradient(plain_B[i]) for i in range(len(IDS))])
    matching.expertise = Expertise(prototypes(), vectors_of, corpus.rows("train"))
    weighed_B = features()
    e_B = torch.tensor(slow_weights(corpus, labels_B, logits_KBC[0]), dtype=torch.float64)
    torch.testing.assert_close(weighed_B, e_B * plain_B, rtol=1e-10, atol=1e-12)
    whole = gradient(weighed_B.sum())
    torch.testing.assert_close(whole, (e_B.unsqueeze(-1) * rows).sum(0), rtol=1e-8, atol=1e-10)
    assert float((whole - e_B.mean() * rows.sum(0)).norm() / whole.norm()) > 0.01


def test_the_teachers_side_of_knowledge_is_its_head_on_its_own_states(corpus: Corpus, tmp_path: Path) -> None:
    """o_T without padding, one row at a time; a domain that it has not seen has the mean of its embeddings."""
    matching, _ = matching_of(corpus, tmp_path)
    model, tokenizer = models.load(tmp_path / "teacher", torch.float64)
    student_tokenizer = models.load(tmp_path / "student")[1]
    encoded = Encoder(student_tokenizer, corpus.rows("train"), 24).encode(IDS)
    targets = matching.get(batch_of(corpus, torch.zeros(len(IDS), dtype=torch.int64), encoded))
    (domain,) = (column for column in targets if column.kind == "domain")
    head = DomainHead(KNOWN, 12, torch.float64, 5)
    names = corpus.rows("train").domains(IDS) or []
    assert not set(names) <= set(KNOWN)
    for i, (name, text) in enumerate(zip(names, corpus.rows("train").texts(IDS), strict=True)):
        row = tokenizer(text, truncation=True, max_length=24, return_tensors="pt")
        mean_H = model(**row, output_hidden_states=True).hidden_states[-1][0].mean(0)
        embedded_H = head.embedding[KNOWN.index(name)] if name in KNOWN else head.embedding.mean(0)
        expected_H = head.mix.weight @ (embedded_H + mean_H) + head.mix.bias
        torch.testing.assert_close(targets[domain][i], expected_H.detach(), rtol=1e-8, atol=1e-10)
