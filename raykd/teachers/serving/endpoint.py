"""A server that answers in a teacher's place: where it is, what it serves, what of that decides its soft targets."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

from raykd.config.endpoint import EndpointForm, Outputs
from raykd.errors import ConfigError

FLOOR = 1e-12
"""The least probability that is told from 0: what a server rounds to 0 is taken as that.

A probability p becomes the logit log p, which is exact: logits are defined up to a constant for each row, and
softmax(log p / τ) is the softened target of the teacher's own logits at every temperature τ. Of 0 there is no
logarithm. The floored row is not normalised again: the softmax of every objective does that. Where a server's 0 was
less than 1e-12, softened probabilities move by at most FLOOR^(1/τ) for each class: 1e-6 at τ = 2, 1e-3 at τ = 4.
"""


@dataclass(frozen=True)
class Endpoint:
    """What replicas ask, and what must answer.

    Attributes:
        urls: servers of the same model; requests are spread over them.
        form: of requests and answers.
        outputs: what the numbers of an answer are.
        model, revision: what the server says that it serves; no revision where it tells none.
        labels: its names of the columns in its order; None where it tells none.
        token_variable: name of the environment variable with a bearer token.
        timeout_s: of a request.
        retries: further attempts for a request that may be answered later or elsewhere.
    """

    urls: tuple[str, ...]
    form: EndpointForm
    outputs: Outputs
    model: str
    revision: str | None
    labels: tuple[str, ...] | None
    token_variable: str | None
    timeout_s: float
    retries: int

    @property
    def summary(self) -> dict[str, Any]:
        """For plan and result: what answers, and as what."""
        labels = None if self.labels is None else list(self.labels)
        return {"form": self.form, "model": self.model, "revision": self.revision, "outputs": self.outputs,
                "labels": labels}  # fmt: skip

    @property
    def fingerprint(self) -> str:
        """Of what decides the answers; not of where they are asked for, nor of how often."""
        floor = FLOOR if self.outputs == "probabilities" else None
        parts = [self.form, self.model, self.revision, self.outputs, self.labels, floor]
        return f"endpoint {hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def bearer_token(variable: str | None) -> str | None:
    """The token in an environment variable; None where no variable is named.

    Raises:
        ConfigError: it is not set, or cannot stand in a header; the message does not repeat it.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        mend = "set it, on a cluster on every node that runs replicas"
        raise ConfigError("teachers: token_variable", f"the environment variable {variable} is not set", mend)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("teachers: token_variable", f"the environment variable {variable} holds no bearer token")
    return token
