"""Rows to padded token tensors; every row is tokenised once and remembered as a compact array."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from raykd.data.rows import Rows


class Encoder:
    """Encodes example ids with one tokenizer, as that tokenizer would pad them itself.

    Args:
        tokenizer: of the model that reads the tensors.
        rows: the split that ids index.
        max_length: tokens of a row; longer ones are cut (of a pair, the longer sentence first).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, rows: Rows, max_length: int) -> None:
        self.rows, self.max_length = rows, max_length
        self._tokenizer = tokenizer
        self._typed = "token_type_ids" in tokenizer.model_input_names
        self._tokens: dict[int, np.ndarray] = {}
        self._types: dict[int, np.ndarray] = {}

    def encode(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Tensors [B, L] of these rows, int64, padded to the longest of them.

        Returns:
            input_ids, attention_mask, and token_type_ids where the tokenizer makes them.
        """
        self._remember(ids)
        tokens = [self._tokens[i] for i in ids.tolist()]
        lengths_B = np.array([len(row) for row in tokens], dtype=np.int64)
        columns_L = np.arange(lengths_B.max(initial=0))
        if self._tokenizer.padding_side == "left":
            mask_BL = columns_L >= columns_L.size - lengths_B[:, None]
        else:
            mask_BL = columns_L < lengths_B[:, None]
        encoded = {"input_ids": _padded(tokens, mask_BL, self._tokenizer.pad_token_id)}
        if self._typed:
            types = [self._types[i] for i in ids.tolist()]
            encoded["token_type_ids"] = _padded(types, mask_BL, self._tokenizer.pad_token_type_id)
        encoded["attention_mask"] = torch.from_numpy(mask_BL.astype(np.int64))
        return encoded

    def lengths(self, ids: np.ndarray) -> np.ndarray:
        """Tokens of these rows after cutting, int32 [rows]."""
        self._remember(ids)
        return np.array([len(self._tokens[i]) for i in ids.tolist()], dtype=np.int32)

    def _remember(self, ids: np.ndarray) -> None:
        new = np.array([i for i in dict.fromkeys(ids.tolist()) if i not in self._tokens], dtype=np.int64)
        if not len(new):
            return
        encoded = self._tokenizer(
            self.rows.texts(new),
            self.rows.pairs(new),
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_attention_mask=False,
        )
        self._tokens.update(zip(new.tolist(), _compact(encoded["input_ids"], np.int32), strict=True))
        if self._typed:
            self._types.update(zip(new.tolist(), _compact(encoded["token_type_ids"], np.int8), strict=True))


def _compact(rows: Iterable[list[int]], dtype: type) -> Iterable[np.ndarray]:
    return (np.array(row, dtype=dtype) for row in rows)


def _padded(rows: list[np.ndarray], mask_BL: np.ndarray, pad: int) -> torch.Tensor:
    out_BL = np.full(mask_BL.shape, pad, dtype=np.int64)
    if rows:
        out_BL[mask_BL] = np.concatenate(rows)
    return torch.from_numpy(out_BL)
