"""The project's errors: each says where, what and how to mend, in one line, and survives pickling between processes."""

from __future__ import annotations


def one_line(error: object, most: int | None = None) -> str:
    """The text of an error of somebody else's on one line, at most so many characters of it."""
    return " ".join(str(error).split())[:most]


class RaykdError(Exception):
    """Base of all errors that raykd raises on purpose.

    Args:
        where: the file, key, row or actor concerned.
        what: what is wrong there.
        mend: what the reader can do about it.
    """

    status = 1

    def __init__(self, where: str, what: str, mend: str = "") -> None:
        super().__init__(where, what, mend)  # the three arguments, so that pickling rebuilds the error
        self.where, self.what, self.mend = where, what, mend

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.mend})" if self.mend else "")


class ConfigError(RaykdError, ValueError):
    """The user's configuration cannot be used."""

    status = 2


class DataError(RaykdError, ValueError):
    """The user's data cannot be used."""

    status = 2


class ModelError(RaykdError, ValueError):
    """A checkpoint or model specification cannot be used."""

    status = 2


class TeacherError(RaykdError, RuntimeError):
    """A teacher cannot answer, or answered something that must not be trained on."""


class TrainerLost(TeacherError):
    """A process that learns along with the student (a teacher's, the policy's) died: back to the last checkpoint."""


class StoreError(RaykdError, RuntimeError):
    """A file of soft targets is damaged or not that of the request."""


class RunError(RaykdError, RuntimeError):
    """A run cannot continue: its cluster, its workers or its folder fail it."""


class Interrupted(RaykdError):
    """The user stopped the run; a checkpoint has been saved."""

    status = 130
