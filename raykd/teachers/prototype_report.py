"""What a page shows of a meta-teacher's domains: their prototype scores, and how far they overlap."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from raykd.files import write_json
from raykd.models.domain_head import FOLDER
from raykd.records.prototype_result import QUANTILES, PrototypeResult
from raykd.teachers.prototypes import Prototypes

FILE = "report.json"


def prototype_report(
    prototypes: Prototypes, pooled_NH: np.ndarray, domains: Sequence[str], classes_N: np.ndarray, scores_N: np.ndarray
) -> PrototypeResult:
    """Of rows with their sentence vectors, domains, classes and prototype scores."""
    names, row_domains = prototypes.domains, np.array(domains)
    cosines_ND, there_ND = prototypes.cosines(pooled_NH, classes_N)
    nearest_N = np.where(there_ND, cosines_ND, -2.0).argmax(axis=1)
    of = {name: row_domains == name for name in names}
    return PrototypeResult(
        rows={name: int(rows.sum()) for name, rows in of.items()},
        scores={name: [float(value) for value in np.quantile(scores_N[rows], QUANTILES)] for name, rows in of.items()},
        nearest={
            name: {other: float((nearest_N[rows] == k).mean()) for k, other in enumerate(names)}
            for name, rows in of.items()
        },
    )


def save_prototype_report(report: PrototypeResult, checkpoint: Path) -> None:
    """Writes it beside a checkpoint."""
    write_json(checkpoint / FOLDER / FILE, report.model_dump())


def load_prototype_report(checkpoint: Path) -> PrototypeResult | None:
    """The report beside a checkpoint; None of a teacher that has none, or whose report is damaged."""
    try:
        return PrototypeResult.model_validate(json.loads((checkpoint / FOLDER / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
