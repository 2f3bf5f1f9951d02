"""A teacher's inner outputs between tensors of a batch and rows without padding, as they travel and are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from raykd.columns import Column
from raykd.errors import TeacherError
from raykd.teachers.serving.values import Ragged, Values
from raykd.teachers.teacher_model import TeacherModel


def pack(captured: Mapping[Column, torch.Tensor], teacher: TeacherModel, mask_BL: torch.Tensor) -> Values:
    """Rows of `teacher.features` one after the other, padding left out, in the wire's dtype.

    Args:
        captured: [B, …] of each column, padded as the mask has it.
        mask_BL: 1 on tokens; on either side of a row the tokens are together.
    """
    arrays = {column: captured[column].to(torch.float64 if teacher.wire == "float64" else torch.float32).cpu().numpy()
              for column in teacher.features}  # fmt: skip
    if not teacher.ragged:
        return np.concatenate([arrays[column] for column in teacher.features], axis=1).astype(teacher.wire)
    rows = [
        np.concatenate([_row(arrays[column][i], column, span).reshape(-1) for column in teacher.features])
        for i, span in enumerate(_spans(mask_BL))
    ]
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which the replica refuses
        return Ragged.of([row.astype(teacher.wire) for row in rows], teacher.wire)


def unpack(
    values: Values, teacher: TeacherModel, heads: int, width: int, mask_BL: torch.Tensor, dtype: torch.dtype
) -> dict[Column, torch.Tensor]:
    """The columns as tensors [B, …] on the mask's device, zeros where there is padding.

    Args:
        heads, width: of the teacher.
        mask_BL: of the student's batch, which the teacher's tokenizer has cut alike.

    Raises:
        TeacherError: a row has not as many tokens for the teacher.
    """
    tokens, device = mask_BL.shape[1], mask_BL.device
    if not isinstance(values, Ragged):
        split = np.split(values, len(teacher.features), axis=1)
        return {
            column: torch.from_numpy(np.ascontiguousarray(part)).to(device, dtype)
            for column, part in zip(teacher.features, split, strict=True)
        }
    padded = {
        column: np.zeros((len(values), *column.shape(tokens, width, heads)), values.flat.dtype)
        for column in teacher.features
    }
    for i, (row, span) in enumerate(zip(values.rows(), _spans(mask_BL), strict=True)):
        length = span.stop - span.start
        shapes = {column: column.shape(length, width, heads) for column in teacher.features}
        sizes = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
        if sizes[-1] != len(row):
            what = f"its features of a row of {length} tokens are {len(row)} numbers, not {sizes[-1]}"
            mend = "its tokenizer or max_length differs from the student's"
            raise TeacherError(f"teacher {teacher.name}", what, mend)
        for part, (column, shape) in zip(np.split(row, sizes[:-1]), shapes.items(), strict=True):
            _row(padded[column][i], column, span)[...] = part.reshape(shape)
    return {column: torch.from_numpy(array).to(device, dtype) for column, array in padded.items()}


def row_bytes(columns: Sequence[Column], tokens: np.ndarray, heads: int, width: int, wire: str) -> int:
    """Bytes of rows with so many tokens each."""
    lengths, counts = np.unique(tokens, return_counts=True)
    numbers = sum(
        int(count) * sum(int(np.prod(column.shape(int(length), width, heads))) for column in columns)
        for length, count in zip(lengths, counts, strict=True)
    )
    return numbers * np.dtype(wire).itemsize


def _spans(mask_BL: torch.Tensor) -> list[slice]:
    """Where the tokens of each row are."""
    mask = mask_BL.cpu().numpy().astype(bool)
    starts, lengths = mask.argmax(axis=1), mask.sum(axis=1)
    return [slice(int(start), int(start + length)) for start, length in zip(starts, lengths, strict=True)]


def _row(array: np.ndarray, column: Column, span: slice) -> np.ndarray:
    """The part of a padded row that is tokens, a view."""
    if column.pooled:
        return array
    return array[:, span, span] if column.kind == "scores" else array[span]
