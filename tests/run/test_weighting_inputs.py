"""What a weighting knows before the student begins: honest losses, sentence vectors; and specialists."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TOKENIZER_TEACHERS as TEACHERS
from tiny import Configure

from raykd import api, models
from raykd.config import RunConfig, TeacherConfig
from raykd.data.encoding import Encoder
from raykd.errors import DataError, ModelError
from raykd.records.events import PlanEvent
from raykd.records.log import MetricsLog, read_events
from raykd.run.context import RunContext, open_corpus
from raykd.run.driver import prepare_teachers
from raykd.run.folder import RunFolder
from raykd.run.weighting_inputs import compute_weighting_inputs, folds_of, without_rows
from raykd.teachers.local import LocalTeacher
from raykd.teachers.rows import teacher_rows
from raykd.teachers.serving.client import TeacherClient
from raykd.teachers.serving.cross_fitted import CrossFitted

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.mark.slow
def test_cross_fitted_losses_are_of_copies_that_have_not_seen_the_row(configure: Configure, tmp_path: Path) -> None:
    config = configure("weighting={type: policy, reward: {every: 2}, cross_fit: 2}", teachers=TEACHERS)
    weighting = api.distill(config, tmp_path / "run").weighting
    assert weighting is not None
    assert weighting.updates == 8
    weighting_inputs = compute_weighting_inputs(
        context := context_of(config, tmp_path / "run"), teachers := prepare_teachers(context)[0]
    )
    train = context.corpus.ids["train"]
    for k, copies in enumerate(weighting_inputs.folds):
        assert np.array_equal(np.sort(np.concatenate([copy.wanted for copy in copies])), train)
        for copy in copies:
            assert copy.teacher.weights != teachers[k].weights
            plan = plan_of(tmp_path / f"run/teachers/{copy.teacher.name}.jsonl")
            assert plan.samples == len(train) - len(copy.wanted) == 120
    plain = [replace(weighting_inputs.folds[k][0], teacher=teacher, wanted=train) for k, teacher in enumerate(teachers)]
    cross_fitted = CrossFitted(tuple(plain), weighting_inputs.folds)(train[::-1])
    for k, copies in enumerate(weighting_inputs.folds):
        for copy in copies:
            own = LocalTeacher(copy.teacher, torch.device("cpu")).logits(copy.split, copy.wanted)
            mine = np.isin(train[::-1], copy.wanted)
            np.testing.assert_allclose(cross_fitted[k][mine], own[::-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("group", ["null", "domain"])
def test_a_copy_learns_from_no_row_of_its_fold(configure: Configure, group: str) -> None:
    """Nor does one that draws a budget of its own from rows beyond the student's."""
    own = {**TEACHERS[0], "finetune": {**TEACHERS[0]["finetune"], "max_train_rows": 200}}
    config = configure(f"data.group={group}", "data.generated.domains=4", "data.max_train_rows=150")
    corpus, _ = open_corpus(config)
    train, domains = corpus.ids["train"], np.array(corpus.rows("train").domains(np.arange(240)))
    folds = folds_of(corpus, train, 2, 0)
    assert np.bincount(folds) == pytest.approx([75, 75], abs=0 if group == "null" else 30)
    for fold in range(2):
        rest = without_rows(corpus, held_out := train[folds == fold])
        for teacher in (TEACHERS[0], own):
            learnt = teacher_rows("train", TeacherConfig.of(teacher), rest).ids
            assert len(learnt) > 50
            assert not np.isin(learnt, held_out).any()
            if group == "domain":
                assert not set(domains[learnt]) & set(domains[held_out])


@pytest.mark.slow
def test_sentence_vectors_are_any_encoders_pooled_states(configure: Configure, tmp_path: Path) -> None:
    """An encoder by its folder, whose classifier is of no use here; through the same store as soft targets."""
    encoder = tmp_path / "encoder"
    model, tokenizer = models.load(api.teach(configure(teachers=TEACHERS), tmp_path / "teach")[1]["folder"])
    model.classifier = torch.nn.Linear(32, 7)
    model.config.num_labels = 7
    models.save(model, tokenizer, encoder)
    weighting_section = {"type": "policy", "reward": {"every": 2}, "sentence_encoder": str(encoder)}
    config = configure(teachers=TEACHERS, weighting=weighting_section)
    weighting = api.distill(config, tmp_path / "run").weighting
    assert weighting is not None
    assert weighting.updates == 8
    context = context_of(config, tmp_path / "run")
    sentences = compute_weighting_inputs(context, prepare_teachers(context)[0]).sentences
    assert sentences is not None
    assert sentences.service is None
    ids = context.corpus.ids["train"][:5]
    encoded = Encoder(tokenizer, context.corpus.rows("train"), 24).encode(ids)
    with torch.no_grad():
        hidden_BLH = model.eval().base_model(**encoded).last_hidden_state
    for i, length in enumerate(encoded["attention_mask"].sum(1)):
        wanted = hidden_BLH[i, :length].mean(0)
        np.testing.assert_allclose(TeacherClient(sentences).get(ids)[i], wanted, rtol=1e-4, atol=1e-5)
    weighting_section["sentence_encoder"] = str(tmp_path / "nothing")
    with pytest.raises(ModelError, match="no such folder"):
        api.check(configure(teachers=TEACHERS, weighting=weighting_section))


def test_a_specialist_learns_the_rows_of_its_domain(configure: Configure, tmp_path: Path) -> None:
    teachers = [{**TEACHERS[0], "domains": ["books"]}, TEACHERS[1]]
    config = configure(teachers=teachers)
    books = sum(domain == "books" for domain in open_corpus(config)[0].rows("train").domains(np.arange(240)) or [])
    plan = api.check(config)["teachers"]
    assert [teacher["steps_per_epoch"] for teacher in plan] == [-(-books // 32), 8]
    api.teach(config, tmp_path)
    assert plan_of(tmp_path / "teachers/wordpiece.jsonl").samples == books
    with pytest.raises(DataError, match="no row of the domain 'gardens'"):
        api.check(configure(teachers=[{**TEACHERS[0], "domains": ["gardens"]}]))


def plan_of(log: Path) -> PlanEvent:
    (plan,) = [event for event in read_events(log) if isinstance(event, PlanEvent)]
    return plan


def context_of(config: RunConfig, folder: Path) -> RunContext:
    corpus, task = open_corpus(config)
    log = MetricsLog(folder / "again.jsonl")
    return RunContext(config, RunFolder(folder), corpus, task, False, threading.Event(), log)
