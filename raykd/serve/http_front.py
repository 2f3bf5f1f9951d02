"""A served ensemble over HTTP, for jobs without Ray: texts in, logits out, in raykd's own form (docs/endpoints.md).

One process that is a client of the ensemble, from the standard library: students of this cluster keep their direct way
to the replicas, and nothing else needs a web framework. Each teacher has a path of its own, so that a run elsewhere can
have it as an endpoint.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from raykd.errors import ConfigError, DataError, RaykdError
from raykd.serve.connection import ServedEnsemble

log = logging.getLogger(__name__)
MOST_BYTES, MOST_ROWS = 16 * 2**20, 1024
"""Of a request; larger ones are refused before they are read, or computed."""
IDLE_S = 60.0
"""A connection on which nothing comes for so long is closed."""


class _Problem(Exception):
    """A request that is not answered: its status, and why."""

    def __init__(self, status: HTTPStatus, what: str) -> None:
        super().__init__(what)
        self.status, self.what = status, what


class HttpFront(ThreadingHTTPServer):
    """Answers `GET /` with the ensemble's teachers and labels, `POST /TEACHER` with one teacher's logits of texts.

    Args:
        ensemble: closed by whoever has made it.
        address: host and port; port 0: a free one.
        token: without it, as `Authorization: Bearer TOKEN`, nothing is answered.
    """

    daemon_threads = True

    def __init__(self, ensemble: ServedEnsemble, address: tuple[str, int], token: str) -> None:
        super().__init__(address, _Handler)
        self.ensemble, self.token = ensemble, token
        self.teachers = {name: ensemble.only(name) for name in ensemble.teachers}

    @property
    def url(self) -> str:
        """The address that it listens on."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def server_close(self) -> None:
        """Stops listening and lets the ensemble go."""
        super().server_close()
        for teacher in self.teachers.values():
            teacher.close()


def token_of(variable: str) -> str:
    """The token in an environment variable.

    Raises:
        ConfigError: it is not set; its value is in no message.
    """
    token = os.environ.get(variable, "")
    if len(token) < 16:
        what = "is not set" if not token else "holds a token of less than 16 signs"
        mend = f"for example export {variable}=$(openssl rand -hex 32)"
        raise ConfigError(f"environment variable {variable}", what, mend)
    return token


class _Handler(BaseHTTPRequestHandler):
    """One request; any problem is JSON with `error` and a status of its own."""

    server: HttpFront
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "raykd", ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        """The names of the teachers, as paths, and of the columns."""
        self._answer(self._about)

    def do_POST(self) -> None:
        """The logits of one teacher."""
        self._answer(self._logits)

    def log_message(self, format: str, *args: Any) -> None:
        """As ours; paths hold no secrets."""
        log.debug("%s %s", self.address_string(), format % args)

    def _answer(self, work: Callable[[], dict[str, Any]]) -> None:
        try:
            self._check_token()
            status, content = HTTPStatus.OK, work()
        except _Problem as problem:
            status, content = problem.status, {"error": problem.what}
        except DataError as error:
            status, content = HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except RaykdError as error:
            log.warning("%s", error)
            status, content = HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status is not HTTPStatus.OK:
            # What was not read of the request would be taken for the next one.
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _check_token(self) -> None:
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode()):
            raise _Problem(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong: Authorization: Bearer TOKEN")

    def _about(self) -> dict[str, Any]:
        if self.path != "/":
            raise _Problem(HTTPStatus.NOT_FOUND, "GET / lists the teachers, POST /TEACHER asks one")
        ensemble = self.server.ensemble
        return {
            "ensemble": ensemble.name,
            "teachers": [f"/{name}" for name in ensemble.teachers],
            "labels": ensemble.labels,
        }

    def _logits(self) -> dict[str, Any]:
        name = self.path.removeprefix("/")
        teacher = self.server.teachers.get(name)
        if teacher is None:
            known = ", ".join(f"/{each}" for each in self.server.teachers)
            raise _Problem(HTTPStatus.NOT_FOUND, f"no teacher has this path; there are {known}")
        texts, pairs = self._rows()
        logits_BC = teacher.soft_targets(texts=texts, pairs=pairs)[0]
        return {
            "model": f"{teacher.name}/{name}",
            "revision": teacher.identities[0],
            "labels": teacher.labels or None,
            "logits": logits_BC.tolist(),
        }

    def _rows(self) -> tuple[list[str], list[str] | None]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise _Problem(HTTPStatus.LENGTH_REQUIRED, "the request has no Content-Length")
        if int(length) > MOST_BYTES:
            raise _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_BYTES} bytes are read")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except ValueError:
            raise _Problem(HTTPStatus.BAD_REQUEST, "the body is no JSON") from None
        texts, pairs = (asked.get("texts"), asked.get("pairs")) if isinstance(asked, dict) else (None, None)
        if not isinstance(texts, list) or not (pairs is None or isinstance(pairs, list)):
            raise _Problem(HTTPStatus.BAD_REQUEST, 'the body is not {"texts": [...], "pairs": [...] or null}')
        if len(texts) > MOST_ROWS:
            raise _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_ROWS} texts are answered at once")
        return texts, pairs
