"""A served ensemble over HTTP: the logits of a forward pass, as an endpoint of another run, and what is refused."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import finish, write_config
from tiny import TOKENIZER_TEACHERS, tiny_config

import raykd
from raykd import api
from raykd import config as configuration
from raykd.data.splits import TextSplit
from raykd.errors import ConfigError
from raykd.serve import ensembles
from raykd.serve.http_front import MOST_BYTES, MOST_ROWS, HttpFront, token_of
from raykd.teachers.local import LocalTeacher

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_local")]
TOKEN = "0123456789abcdef"
TEXTS = ["a good film", "the plot is bad"]


@pytest.fixture(scope="module")
def front(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpFront]:
    folder = tmp_path_factory.mktemp("http")
    config = configuration.parse(tiny_config({"name": "overhttp", "teachers": TOKENIZER_TEACHERS}, folder / "cache"))
    api.serve_up(config, folder / "up")
    with raykd.connect("overhttp") as ensemble, HttpFront(ensemble, ("127.0.0.1", 0), TOKEN) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()
    ensembles.down("overhttp", force=True)


def ask(url: str, body: bytes | None = None, token: str | None = TOKEN) -> tuple[int, dict[str, Any]]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_logits_are_those_of_a_forward_pass(front: HttpFront) -> None:
    specs = ensembles.ask(ensembles.find("overhttp").specs.remote())
    teacher = next(spec.teacher for spec in specs if spec.teacher.name == "bpe")
    expected = LocalTeacher(teacher, torch.device("cpu")).logits(TextSplit.of(TEXTS), np.arange(2))
    status, answer = ask(f"{front.url}/bpe", json.dumps({"texts": TEXTS, "pairs": None}).encode())
    assert status == 200
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-5, atol=1e-6)
    assert answer["labels"] == ["negative", "positive"]
    assert (answer["model"], answer["revision"]) == ("overhttp/bpe", teacher.identity)
    assert ask(front.url + "/")[1]["teachers"] == ["/wordpiece", "/bpe"]


def test_a_run_elsewhere_has_it_as_an_endpoint(
    front: HttpFront, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a Ray of its own, whose processes have the token."""
    monkeypatch.setenv("OVERHTTP", TOKEN)
    teacher = {"name": "far", "endpoint": f"{front.url}/bpe", "token_variable": "OVERHTTP"}
    result = finish("distill", write_config(tmp_path, teachers=[teacher]), tmp_path / "run")
    assert result["teachers"][0]["rows_computed"] == 240 + 80
    assert TOKEN not in "".join(path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/nobody", b"{}", 404, "no teacher has this path; there are /wordpiece, /bpe"),
        ("/../bpe", b"{}", 404, "no teacher has this path"),
        ("/bpe", b"{", 400, "no JSON"),
        ("/bpe", b"[1]", 400, "the body is not"),
        ("/bpe", json.dumps({"texts": "a"}).encode(), 400, "the body is not"),
        ("/bpe", json.dumps({"texts": []}).encode(), 400, "there are none"),
        ("/bpe", json.dumps({"texts": [1]}).encode(), 400, "is no text but int"),
        ("/bpe", json.dumps({"texts": ["a"] * (MOST_ROWS + 1)}).encode(), 413, "texts are answered at once"),
        ("/bpe", b" " * (MOST_BYTES + 1), 413, "bytes are read"),
    ],
)
def test_what_is_no_request_is_said(front: HttpFront, path: str, body: bytes, status: int, message: str) -> None:
    try:
        answered, answer = ask(front.url + path, body)
    except urllib.error.URLError:  # closed while the client still sends
        assert status == 413
        return
    assert (answered, message in answer["error"]) == (status, True)


@pytest.mark.parametrize("token", [None, "", "0123456789abcdeg", TOKEN + "x"])
def test_without_the_token_nothing_is_answered(front: HttpFront, token: str | None) -> None:
    status, answer = ask(f"{front.url}/bpe", json.dumps({"texts": TEXTS}).encode(), token)
    assert status == 401
    assert "logits" not in answer
    assert TOKEN not in answer["error"]


def test_a_token_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="NOBODYS: is not set"):
        token_of("NOBODYS")
    monkeypatch.setenv("SHORT", "abc")
    with pytest.raises(ConfigError, match="less than 16 signs") as error:
        token_of("SHORT")
    assert "abc" not in str(error.value)
