"""Errors of Ray calls: the one line that a person needs, and our own error carried over from another process."""

from __future__ import annotations

from ray.exceptions import RayTaskError

from raykd.errors import RaykdError

NAMESPACE = "raykd"
"""Of all named actors."""


def first_line(error: BaseException | str) -> str:
    """The first line of an error's text that is not empty; its class where there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def last_line(error: BaseException | str) -> str:
    """The last such line: of a dead actor's error, the cause."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def cause_of(error: RayTaskError) -> Exception:
    """What was raised in the other process: ours as it is, another's with its remote traceback."""
    return error.cause if isinstance(error.cause, RaykdError) else error
