"""A teacher that is a server: what it serves is asked once, of every address, and must fit the task."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

from raykd import models
from raykd.config import EndpointTeacherConfig
from raykd.data.corpus import Corpus
from raykd.errors import ConfigError, ModelError, TeacherError
from raykd.teachers.serving.endpoint import Endpoint, bearer_token
from raykd.teachers.serving.endpoint_client import identify
from raykd.teachers.serving.endpoint_forms import FORMS, Identity
from raykd.teachers.serving.endpoint_scores import check_identity, check_model, check_revision
from raykd.teachers.serving.http_json import Refused, Unavailable
from raykd.teachers.teacher_model import TeacherModel

log = logging.getLogger(__name__)
PAUSES_S = (0.5, 1.0)
"""Between rounds over the addresses while none has answered."""
ROW_TOKENS = 1
"""A service packs calls by tokens: a row of an endpoint counts as one, so that `batch_tokens` are rows."""


def prepare_endpoint(
    name: str, config: EndpointTeacherConfig, corpus: Corpus, labels: tuple[str, ...]
) -> tuple[TeacherModel, list[str]]:
    """The teacher that the servers of an endpoint are, and what a person should know about it.

    Its identity is what they say that they serve, in which form and as which numbers: not their addresses, so that more
    of them change nothing of what is stored.

    Args:
        labels: the task's classes in order; empty in a regression.

    Raises:
        TeacherError: no server answers, or one serves something else than the others or than is asked for.
        ModelError: its classes are not the task's.
        ConfigError: the token's variable is not set, or the endpoint does not take such rows.
    """
    where, pairs = f"teacher {name}", corpus.rows("train").pairs(corpus.ids["train"][:1]) is not None
    if pairs and not FORMS[config.form].pairs:
        raise ConfigError(
            where, f"form {config.form} has no pairs of texts, and the rows are pairs", "use another form"
        )
    served = _served(name, config, pairs)
    endpoint, identity = served.endpoint, served.identity
    classes = max(1, len(labels))
    if identity.classes != classes:
        raise ModelError(where, f"has {identity.classes} classes, the task {classes}", "choose a teacher of this task")
    if identity.most_rows is not None and identity.most_rows < config.batch_rows:
        what = f"{config.batch_rows} rows of a request, and the server takes {identity.most_rows}"
        raise ConfigError(f"{where}: batch_rows", what, f"set batch_rows={identity.most_rows}")
    columns, warning = models.column_order(endpoint.labels, labels, corpus.named, config.labels, where)
    teacher = TeacherModel(
        name=name,
        folder="",
        columns=tuple(columns),
        labels=labels,
        max_length=ROW_TOKENS,
        dtype="float32",
        weights=endpoint.fingerprint,
        tokenizer="the server's",
        parameters=None,
        endpoint=endpoint,
    )
    return teacher, [*served.warnings, *([warning] if warning else [])]


@dataclass(frozen=True)
class _Served:
    endpoint: Endpoint
    identity: Identity
    warnings: list[str]


def _served(name: str, config: EndpointTeacherConfig, pairs: bool) -> _Served:
    """What all servers that answer serve; a warning for each that does not, as long as one does."""
    token, where = bearer_token(config.token_variable), f"teacher {name}"
    # Model and labels are not known yet.
    endpoint = Endpoint(
        tuple(config.endpoint), config.form, config.numbers, "", None, None,
        config.token_variable, config.request_timeout_s, config.retries,
    )  # fmt: skip
    for pause in (*PAUSES_S, None):
        found, silent = _round(where, endpoint, config, token, pairs)
        if found is not None:
            warnings = [f"{where}: {url} gives no answer ({what})" for url, what in silent.items()]
            served = replace(endpoint, model=found.model, revision=found.revision, labels=found.labels)
            log.info("%s: %d of %d servers serve %s", where, len(config.endpoint) - len(silent), len(config.endpoint),
                     found.model)  # fmt: skip
            return _Served(served, found, warnings)
        if pause is not None:
            time.sleep(pause)
    problems = "; ".join(f"{url}: {what}" for url, what in silent.items())
    raise TeacherError(where, f"no server of its endpoint answers: {problems}", "start it, or mend the address")


def _round(
    where: str, endpoint: Endpoint, config: EndpointTeacherConfig, token: str | None, pairs: bool
) -> tuple[Identity | None, dict[str, str]]:
    """What the servers serve, once each was asked; and those that gave no answer, with the reason."""
    found: Identity | None = None
    silent: dict[str, str] = {}
    for url in endpoint.urls:
        try:
            identity = identify(endpoint, url, token, pairs)
            if config.model_id is not None:
                check_model(identity.model, config.model_id)
            if config.revision is not None:
                check_revision(identity.revision, config.revision)
            if found is not None:
                first = replace(endpoint, model=found.model, revision=found.revision, labels=found.labels)
                check_identity(identity, first, found.classes)
        except Unavailable as error:
            silent[url] = error.what
        except Refused as error:
            mend = "mend the server, or the keys of this teacher"
            raise TeacherError(where, f"{url}: {error.what}", mend) from None
        else:
            found = found or identity
    return found, silent
