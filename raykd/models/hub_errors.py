"""Calls into transformers' readers and writers: kept quiet, and their errors as one line of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as hf_logging

from raykd.errors import ModelError, one_line

# What transformers raises on a folder that it cannot read; a wrong config.json gives any of them.
UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    SafetensorError,
    StrictDataclassError,
)


@contextmanager
def reading(where: str, what: str) -> Iterator[None]:
    """Turns what transformers raises inside into a ModelError: `what` of `where` cannot be read."""
    try:
        with quiet():
            yield
    except UNREADABLE as error:
        text = f"{error} is unknown" if isinstance(error, KeyError) else str(error)
        reason = one_line(text) or type(error).__name__
        short = reason if len(reason) <= 200 else reason[:200] + "…"
        mend = "it may be half written or of another program: download or save it again"
        raise ModelError(where, f"its {what} cannot be read: {short}", mend) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back transformers' load reports and progress bars; raykd logs what is new or unused itself, at info."""
    root = logging.getLogger("transformers")
    level, bars = root.level, hf_logging.is_progress_bar_enabled()
    root.setLevel(logging.ERROR)
    if bars:
        hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        root.setLevel(level)
        if bars:
            hf_logging.enable_progress_bar()
