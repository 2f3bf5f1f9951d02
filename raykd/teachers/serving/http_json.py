"""One JSON request to a server over HTTP, and what went wrong: whether it may pass, or will not."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from raykd.errors import one_line

TRANSIENT = (408, 429)
"""Statuses below 500 that another attempt may not get."""
EXCERPT = 200
"""Characters of a server's message that are repeated in ours."""
MOST_ERROR_BYTES = 2**16
CHUNK = 2**16


class Unavailable(Exception):
    """The server gave no whole answer; it, or another one, may give it later.

    Attributes:
        retry_after_s: seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, what: str, retry_after_s: float | None = None) -> None:
        super().__init__(what, retry_after_s)
        self.what, self.retry_after_s = what, retry_after_s


class Refused(Exception):
    """The server refuses the request, or its answer must not be used: another attempt would get the same."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def ask(url: str, body: Any, token: str | None, timeout_s: float, most_bytes: int) -> Any:
    """The JSON that a server answers: to a POST of `body`, or to a GET where that is None.

    Redirects are not followed, so that neither rows nor the token go to another server; proxies of the environment are
    not used.

    Args:
        token: sent as a bearer token; it stands in no error.
        timeout_s: for a connection, then for the answer to begin; and from the start until the answer is whole.
        most_bytes: a longer answer is not read.

    Raises:
        Unavailable: no connection, no answer in time, a cut answer, status 408, 429 or 5xx.
        Refused: any other status, a redirect, an answer that is too long or no JSON.
    """
    try:
        status, headers, content = _exchange(url, body, token, timeout_s, most_bytes)
    except ssl.SSLCertVerificationError as error:
        raise Refused(f"its certificate is not accepted: {one_line(error, EXCERPT)}") from None
    except TimeoutError:
        raise Unavailable(f"no answer in {timeout_s:g} s") from None
    except UnicodeError:
        raise Refused("its host cannot be a name") from None
    except http.client.IncompleteRead:
        raise Unavailable("its answer was cut") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(one_line(error, EXCERPT) or type(error).__name__) from None
    if not 200 <= status < 300:
        raise _refusal(status, headers, content, token)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Refused(f"its answer of {len(content):,} bytes is no JSON") from None


def _exchange(
    url: str, body: Any, token: str | None, timeout_s: float, most_bytes: int
) -> tuple[int, http.client.HTTPMessage, bytes]:
    parts, deadline = urlsplit(url), time.monotonic() + timeout_s
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(str(parts.hostname), parts.port, timeout=timeout_s)
    headers = {"Accept": "application/json", "Connection": "close", "User-Agent": "raykd"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    payload = None
    if body is not None:
        payload = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    try:
        connection.connect()
        read_from = connection.sock  # which the connection forgets once the answer has begun
        connection.request("GET" if body is None else "POST", parts.path or "/", payload, headers)
        response = connection.getresponse()
        whole = 200 <= response.status < 300
        content = _read(response, read_from, deadline, most_bytes if whole else MOST_ERROR_BYTES, whole)
        return response.status, response.headers, content
    finally:
        connection.close()


def _read(
    response: http.client.HTTPResponse, read_from: socket.socket, deadline: float, most_bytes: int, whole: bool
) -> bytes:
    """The body; of an error (not `whole`) as much of it as there is, at most so many bytes."""
    expected, content = response.length, bytearray()
    while expected is None or len(content) < expected:
        # read1 returns what has come: a server that sends a byte now and then is not waited for beyond the deadline.
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        read_from.settimeout(left)
        chunk = response.read1(CHUNK)
        if not chunk:
            break
        content += chunk
        if len(content) > most_bytes:
            if whole:
                raise Refused(f"its answer is longer than {most_bytes:,} bytes")
            break
    if whole and expected is not None and len(content) < expected:
        raise Unavailable(f"its answer was cut after {len(content):,} of {expected:,} bytes")
    return bytes(content)


def _refusal(status: int, headers: http.client.HTTPMessage, content: bytes, token: str | None) -> Unavailable | Refused:
    if 300 <= status < 400:
        host = urlsplit(headers.get("Location", "")).hostname or "another address"
        return Refused(f"it redirects to {host} (status {status}), which is not followed: write the address itself")
    message = content.decode(errors="replace")
    if token:
        message = message.replace(token, "…")  # some servers repeat what they were sent
    text = one_line(message, EXCERPT)
    what = f"status {status}" + (f": {text}" if text else "")
    if status in TRANSIENT or status >= 500:
        after = headers.get("Retry-After", "").strip()
        return Unavailable(what, float(after) if after.isdecimal() and len(after) < 6 else None)
    return Refused(what)
