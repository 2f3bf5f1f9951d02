"""The features that a student matches: which columns of which teacher, whether they are stored, who computes them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from raykd import models
from raykd.config import FeaturesConfig, RunConfig
from raykd.data.encoding import Encoder
from raykd.errors import ConfigError
from raykd.models.capture import capture_shape
from raykd.models.checkpoint import read_config
from raykd.models.domain_head import FOLDER, load_domain_head
from raykd.objective.feature_plan import EncoderShape, FeaturePlan, plan_features
from raykd.records.features_result import FeaturesResult
from raykd.run.arms import student_rows
from raykd.run.context import RunContext
from raykd.run.weighting_inputs import answered, encoder_by_name
from raykd.student.features import FeatureSource
from raykd.teachers.features import row_bytes
from raykd.teachers.prototypes import ENCODER, load_prototypes
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.session import NO_IDS, TargetRequest, TeacherSession
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.job import Subset

log = logging.getLogger(__name__)
SUFFIX = " (features)"
"""Tells the teacher's inner outputs from its logits in messages and on the display."""
SAMPLE = 2000
"""Rows whose tokens are counted to estimate the bytes of all."""
KEEP_BYTES = 256 * 2**20
"""Of the newest answers that a service which stores nothing remembers: more than all students prefetch."""


@dataclass
class Features:
    """A run's features: their source, and the account of what they cost."""

    source: FeatureSource
    estimated_bytes: int
    stored: bool
    session: TeacherSession

    def result(self) -> FeaturesResult:
        """What was matched, and what it cost so far."""
        plan, teacher = self.source.plan, self.source.source.teacher
        cost = self.session.served[0].cost
        return FeaturesResult(
            teacher=teacher.name.removesuffix(SUFFIX),
            terms={name: term.weight for name, term in self.source.settings.terms.items()},
            pairs={name: list(pairs) for name, pairs in plan.pairs.items()},
            columns=[column.name for column in plan.teacher_columns],
            stored=self.stored,
            bytes=self.estimated_bytes,
            rows_computed=cost.rows_computed,
            seconds=cost.seconds,
        )


@contextlib.contextmanager
def feature_session(
    context: RunContext, teachers: Sequence[TeacherModel], start: Path, ids: np.ndarray, wait: bool
) -> Iterator[Features | None]:
    """The features of these rows of the training split; None where the objective has none.

    Features that fit into `objective.features.store_mb` are computed once and stored, others whenever a student asks.

    Args:
        start: the untrained student.
        wait: until stored ones are complete.

    Raises:
        ConfigError: the teacher's features cannot be matched by this student.
        Interrupted: stopped while waiting; finished rows are kept.
    """
    planned = planned_features(context, teachers, start)
    if planned is None:
        yield None
        return
    k, source = planned
    estimated = _estimated_bytes(context, source, start)
    stored = not source.source.teacher.ragged or estimated <= source.settings.store_mb * 2**20
    (spec,) = context.services([source.source.teacher], [context.config.teachers[k]], overlap=not wait or not stored)
    if not stored:
        spec = replace(spec, keep_bytes=KEEP_BYTES)
    log.info("features take about %.0f MB: %s", estimated / 2**20, "stored" if stored else "computed in each epoch")
    split = Subset.of(context.corpus, "train").split
    with context.session([spec], {"train": TargetRequest(split, ids)}) as session:
        if any(open_one.service is not None for open_one in session.sources("train")):
            context.phase("features")
            session.start(context.metrics)
            if wait and stored:
                session.wait(context.stop)
        (ready,) = session.sources("train")
        yield Features(replace(source, source=ready), estimated, stored, session)
        if stored:
            session.wait(context.stop)


def stored_features(
    context: RunContext, teachers: Sequence[TeacherModel], start: Path
) -> tuple[FeatureSource | None, bool]:
    """The features of a trial, which starts no teacher's service, and whether it calls their teacher in its own loop:
    where an earlier pass, the study's or a run's, has not stored all that it asks for.

    Raises:
        ConfigError: as `feature_session`.
    """
    planned = planned_features(context, teachers, start)
    if planned is None:
        return None, False
    _, features = planned
    source, ids = features.source, student_rows(context.config, context.corpus).ids
    table = source.teacher.store(Path(source.cache), source.split.texts).sealed()
    stored = table is not None and bool(table.covers(ids).all())
    return replace(features, source=replace(source, wanted=ids)), not stored


def planned_features(
    context: RunContext, teachers: Sequence[TeacherModel], start: Path
) -> tuple[int, FeatureSource] | None:
    """The place of their teacher among the K, and a source without a service.

    Raises:
        ConfigError: as `feature_session`.
    """
    config = context.config
    settings = config.objective.features
    if settings is None:
        return None
    k = features_teacher(config, settings)
    teacher = teachers[k]
    shape = shape_of(Path(teacher.folder))
    plan = make_feature_plan(settings, shape_of(start), shape, config.seed)
    inner = feature_teacher(teacher, plan)
    if inner.ragged:
        own = models.tokenizer_fingerprint(start)
        check_tokens(teacher.name, own, teacher.tokenizer, teacher.max_length, config.data.max_length)
    train = Subset.of(context.corpus, "train")
    source = TargetSource(inner, train.split, str(config.cache_folder), context.run, NO_IDS, None)
    features = FeatureSource(source, plan, settings, k)
    if settings.expertise:
        load_prototypes(Path(teacher.folder)).in_order(teacher.columns)
        features = replace(
            features, pooled=_pooled(context, teacher), checkpoint=teacher.folder, columns=teacher.columns
        )
    if settings.knowledge is not None:
        load_domain_head(Path(teacher.folder), teacher.weights, torch.float32)
    return k, features


def _pooled(context: RunContext, teacher: TeacherModel) -> TargetSource:
    """Sentence vectors of the student's rows, by the encoder that the teacher's prototypes were taken with."""
    encoder, settings = encoder_by_name(str(Path(teacher.folder) / FOLDER / ENCODER), teacher.max_length)
    encoder = replace(encoder, name=f"{teacher.name} (prototypes)")
    return answered(context, "prototypes", encoder, settings, student_rows(context.config, context.corpus).ids)


def features_teacher(config: RunConfig, settings: FeaturesConfig) -> int:
    """The place among the teachers of the one whose features are matched."""
    return 0 if settings.teacher is None else config.teacher_names.index(settings.teacher)


def shape_of(folder: Path) -> EncoderShape:
    """Layers, width and heads of a checkpoint."""
    return EncoderShape(*capture_shape(read_config(folder, str(folder))))


def make_feature_plan(settings: FeaturesConfig, student: EncoderShape, teacher: EncoderShape, seed: int) -> FeaturePlan:
    """The pairs of layers and the columns; ConfigError where the two models have not what is asked for."""
    try:
        return plan_features(settings, student, teacher, seed)
    except ValueError as error:
        raise ConfigError("objective.features", str(error), "see docs/methods.md, section Features") from None


def feature_teacher(teacher: TeacherModel, plan: FeaturePlan) -> TeacherModel:
    """The same teacher, whose answers are its inner outputs."""
    inner = replace(
        teacher, name=f"{teacher.name}{SUFFIX}", output="features", features=plan.teacher_columns, labels=()
    )
    return replace(inner, columns=() if inner.ragged else tuple(range(plan.teacher.width * len(inner.features))))


def check_tokens(teacher: str, own: str, theirs: str, their_length: int, length: int) -> None:
    """Refuses features of tokens where student and teacher do not cut a text into the same ones.

    Args:
        own, theirs: fingerprints of the student's tokenizer and the teacher's.
        their_length, length: tokens at which the teacher and the student cut a row.

    Raises:
        ConfigError: their tokenizers or lengths differ.
    """
    where, mend = f"objective.features: teacher {teacher}", "leave hidden, attention, embedding and minilm out"
    if theirs != own:
        what = "has another tokenizer than the student, so their tokens cannot be compared"
        raise ConfigError(where, what, f"{mend} (pkd is of whole rows), or give the student the teacher's tokenizer")
    if their_length != length:
        what = f"cuts rows at {their_length} tokens and the student at {length}"
        raise ConfigError(where, what, "set teachers[].max_length to data.max_length")


def _estimated_bytes(context: RunContext, features: FeatureSource, start: Path) -> int:
    """Of all the student's rows, from the tokens of some that are evenly spread among them."""
    rows, plan = student_rows(context.config, context.corpus), features.plan
    sample = rows.ids[np.unique(np.linspace(0, len(rows.ids) - 1, min(SAMPLE, len(rows.ids))).astype(np.int64))]
    tokenizer = models.read_tokenizer(start, "student")
    tokens = Encoder(tokenizer, rows.rows(), context.config.data.max_length).lengths(sample)
    wire = features.source.teacher.wire
    taken = row_bytes(plan.teacher_columns, tokens, plan.teacher.heads, plan.teacher.width, wire)
    return round(taken / len(sample) * len(rows.ids))
