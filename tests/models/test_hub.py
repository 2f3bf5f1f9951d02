"""An upload to a hub that speaks the real client's protocol on this machine's loopback."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from raykd import models
from raykd.errors import ConfigError, ModelError
from raykd.models import hub


class Hub(http.server.ThreadingHTTPServer):
    """Keeps what is committed; refuses with `refusal` where that is set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.made: dict[str, object] = {}
        self.refusal = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        route = self.path.partition("?")[0]
        if self.server.refusal:
            self.send(self.server.refusal, {"error": "no"})
        elif route == "/api/repos/create":
            self.server.made = json.loads(body)
            self.send(200, {"url": f"{self.server.address}/someone/student"})
        elif route == "/api/validate-yaml":
            errors = (
                [{"message": '"license" must be one of …'}] if "license: mine" in json.loads(body)["content"] else []
            )
            self.send(400 if errors else 200, {"warnings": [], "errors": errors})
        elif route == "/api/models/someone/student/preupload/main":
            asked = [one["path"] for one in json.loads(body)["files"]]
            said = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]
            self.send(200, {"files": said})
        elif route == "/api/models/someone/student/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    assert line["value"]["encoding"] == "base64"
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.send(200, {"commitUrl": f"{self.server.address}/someone/student/commit/0", "commitOid": "0" * 40})
        else:
            self.send(404, {"error": self.path})

    def send(self, status: int, said: object) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def local_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def checkpoint(student: Path) -> Path:
    (student / "README.md").write_text("---\nlibrary_name: transformers\n---\nA card.\n")
    return student


def test_what_arrives_is_the_checkpoint_and_what_was_exported(local_hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    exported = tmp_path / "elsewhere"
    exported.mkdir()
    (exported / "model.onnx").write_bytes(b"graph")
    assert hub.push([checkpoint, exported], "someone/student") == f"{local_hub.address}/someone/student"
    assert local_hub.made["visibility"] == "private"
    assert local_hub.files.pop("elsewhere/model.onnx") == b"graph"
    for name, content in local_hub.files.items():
        (tmp_path / "arrived").mkdir(exist_ok=True)
        (tmp_path / "arrived" / name).write_bytes(content)
    assert "README.md" in local_hub.files
    (sent, tokenizer), (arrived, _) = models.load(checkpoint), models.load(tmp_path / "arrived")
    rows = tokenizer(["word3 is bad"], return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(sent(**rows).logits, arrived(**rows).logits)


def test_what_lies_in_the_checkpoint_goes_with_it(local_hub: Hub, checkpoint: Path) -> None:
    (checkpoint / "onnx").mkdir()
    (checkpoint / "onnx" / "model.onnx").write_bytes(b"graph")
    hub.push([checkpoint, checkpoint / "onnx"], "someone/student")
    assert [name for name in local_hub.files if name.endswith(".onnx")] == ["onnx/model.onnx"]


def test_a_refusal_is_one_line(local_hub: Hub, checkpoint: Path) -> None:
    local_hub.refusal = 403
    with pytest.raises(ModelError, match=r"someone/student: the hub refused it \(HTTP 403\)"):
        hub.push([checkpoint], "someone/student")
    assert not local_hub.files


def test_a_card_that_the_hub_does_not_take_is_told(local_hub: Hub, checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text("---\nlicense: mine\n---\nA card.\n")
    with pytest.raises(ModelError, match=r'README.md: the hub does not take its card .*"license" must be one of'):
        hub.push([checkpoint], "someone/student")
    assert not local_hub.files


def test_a_name_that_is_none_is_told(local_hub: Hub, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="is no name of a repository"):
        hub.push([checkpoint], "not a name/at all/of one")
    assert not local_hub.made


def test_no_hub_is_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match="the hub could not be reached"):
        hub.push([checkpoint], "someone/student")


def test_offline_is_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="the hub could not be reached"):
        hub.push([checkpoint], "someone/student")
