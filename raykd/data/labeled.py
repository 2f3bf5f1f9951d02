"""The training file's rows with labels: those of the student's domains, the budget of them, and those of its teachers.

With a target domain (the setting of Meta-KD) the student's rows and its budget are of that domain alone, and teachers
that are fine-tuned have the labels of the other domains too. No one reads those of the target domain beyond the budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raykd.config import DataConfig
from raykd.data.holdout import draw_budget, in_domains
from raykd.data.pool import Pool


@dataclass(frozen=True)
class LabeledRows:
    """Ids of rows with labels, before anything is held out, ascending.

    Attributes:
        own: of the domains that the student learns.
        budget: those of `own` whose labels may be read.
        rest: those of `own` beyond the budget.
        elsewhere: of the other domains, where there is a target domain; empty else.
        teachable: those that a teacher with a budget of its own may draw from.
    """

    own: np.ndarray
    budget: np.ndarray
    rest: np.ndarray
    elsewhere: np.ndarray
    teachable: np.ndarray


def labeled_rows(together: Pool, places: Mapping[str, str], data: DataConfig) -> LabeledRows:
    """Divides the training file's rows by domain and budget; none of them without a training file.

    Raises:
        DataError: a domain is unknown, or the budget leaves too few.
    """
    none = np.empty(0, np.int64)
    if data.train is None:
        return LabeledRows(none, none, none, none, none)
    rows, every, where = together.rows, together.ids["train"], places["train"]
    domains, key = data.student_domains
    own = in_domains(rows, every, domains, where, key)
    budget, rest = draw_budget(rows, own, data, where)
    if data.target_domain is None:
        return LabeledRows(own, budget, rest, none, own)
    return LabeledRows(own, budget, rest, np.setdiff1d(every, own), np.setdiff1d(every, rest))
