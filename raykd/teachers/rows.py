"""The rows that a teacher is trained on and those that its checkpoint is chosen by."""

from __future__ import annotations

import numpy as np

from raykd.config import TeacherConfig, TrainedTeacherConfig
from raykd.config.teachers import TARGET
from raykd.data.corpus import Corpus
from raykd.data.holdout import in_domains, out_of_domains, stratified
from raykd.data.rows import Rows
from raykd.training.job import Subset


def teacher_rows(split: str, config: TeacherConfig, corpus: Corpus) -> Subset:
    """The rows of train or validation that a teacher is fine-tuned on or chosen by: a specialist's are its domains'.

    With a target domain they are of all domains. A teacher's own budget is drawn from the rows of its domains.

    Raises:
        DataError: there are no such domains, or no row is left.
    """
    if not isinstance(config, TrainedTeacherConfig):
        return Subset.of(corpus, split)
    if split == "validation":
        subset = Subset(corpus.splits[corpus.source[split]], corpus.teacher_validation)
        return Subset(subset.split, _of_domains(split, config, corpus, subset))
    own = config.finetune.max_train_rows
    # `loaded` has the labels of rows that the student has without.
    subset = Subset(
        corpus.splits.get("loaded", corpus.splits["train"]), corpus.teacher_train if own is None else corpus.teachable
    )
    ids = _of_domains(split, config, corpus, subset)
    if own is not None:
        ids = stratified(subset.rows(), ids, min(own, len(ids)), config.finetune.seed, "teacher")
    return Subset(subset.split, ids)


def domain_names(names: list[str], corpus: Corpus) -> list[str]:
    """The domains that these names mean: `target` is the target domain."""
    return [corpus.target if name == TARGET and corpus.target is not None else name for name in names]


def _of_domains(split: str, config: TrainedTeacherConfig, corpus: Corpus, subset: Subset) -> np.ndarray:
    """Those of the subset's ids that are of the teacher's domains."""
    rows: Rows = subset.rows()
    where = f"split {corpus.source[split]}"
    if config.domains is not None:
        return in_domains(rows, subset.ids, domain_names(config.domains, corpus), where, "domains of a teacher")
    if config.leave_out is None:
        return subset.ids
    names, key = domain_names(config.leave_out, corpus), "leave_out of a teacher"
    if split == "train":  # a validation may lack a domain, and a name that no row has is a mistake
        in_domains(rows, subset.ids, names, where, key)
    return out_of_domains(rows, subset.ids, names, where, key)
