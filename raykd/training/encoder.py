"""Rows as a job's student reads them."""

from __future__ import annotations

from pathlib import Path

from raykd import models
from raykd.data.encoding import Encoder
from raykd.training.job import Job, Subset


def student_encoder(job: Job, subset: Subset) -> Encoder:
    """Encodes these rows with the tokenizer of the job's student, cut at its length."""
    return Encoder(models.read_tokenizer(Path(job.model), "student"), subset.rows(), job.max_length)
