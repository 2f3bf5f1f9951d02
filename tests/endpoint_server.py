"""A server of text classification in a thread: a real checkpoint, in the forms of docs/endpoints.md, with faults."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

Logits = Callable[[Sequence[str], Sequence[str] | None], np.ndarray]
Answer = dict[str, Any] | list[Any]


def logits_of(folder: Path, max_length: int) -> Logits:
    """What a checkpoint answers, by transformers alone."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def answer(texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
        encoded = tokenizer(
            list(texts), None if pairs is None else list(pairs), truncation=True, max_length=max_length, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            return model(**encoded).logits.double().numpy()

    return answer


class EndpointServer:
    """Serves on a free port of this machine.

    Attributes:
        labels: names of the logits' columns.
        faults: one for each coming POST, in turn: a status, or what happens; then none.
        requests: the path, headers and body of each request.
        change: applied to each answer to a POST.
    """

    def __init__(self, logits: Logits, labels: Sequence[str], max_rows: int = 32) -> None:
        self.logits, self.labels, self.max_rows = logits, list(labels), max_rows
        self.model, self.revision = "tiny", "1"
        self.kind = "logits"
        self.faults: list[Any] = []
        self.change: Callable[[Any], Any] = lambda answer: answer
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rows_asked(self) -> int:
        """Rows of all requests."""
        bodies = [body for _, _, body in self.requests if body is not None]
        return sum(len(body.get("texts") or body.get("inputs") or body.get("input") or []) for body in bodies)

    def get(self, path: str) -> Answer | None:
        if path == "/v1/models":
            return {"object": "list", "data": [{"id": self.model, "object": "model"}]}
        if path == "/info":
            names = {str(k): label for k, label in enumerate(self.labels)}
            kind = {"classifier": {"id2label": names, "label2id": {label: int(k) for k, label in names.items()}}}
            return {"model_id": self.model, "model_sha": self.revision, "model_type": kind,
                    "max_client_batch_size": self.max_rows}  # fmt: skip
        return None

    def post(self, path: str, body: Any) -> Answer | None:
        if path == "/raykd":
            logits = self.logits(body["texts"], body["pairs"])
            numbers = {"logits": logits, "probabilities": softmax(logits), "log_probabilities": np.log(softmax(logits))}
            return {"model": self.model, "revision": self.revision, "labels": self.labels,
                    self.kind: numbers[self.kind].tolist()}  # fmt: skip
        if path in ("/classify", "/v1/classify"):
            logits = self.logits(body["input"], None)
            knows = path == "/classify"  # SGLang does not
            values = logits if knows and body.get("use_activation") is False else softmax(logits)
            rows = [
                {"index": i, "label": self.labels[int(row.argmax())], "probs": row.tolist(), "num_classes": len(row)}
                for i, row in enumerate(values)
            ]
            return {"id": "classify-1", "object": "list", "model": body["model"], "data": rows[::-1]}
        if path == "/predict":
            pairs = [row[1] for row in body["inputs"]] if len(body["inputs"][0]) > 1 else None
            logits = self.logits([row[0] for row in body["inputs"]], pairs)
            values = logits if body["raw_scores"] else softmax(logits)
            return [
                sorted(
                    ({"label": label, "score": float(score)} for label, score in zip(self.labels, row, strict=True)),
                    key=lambda entry: -entry["score"],
                )
                for row in values
            ]
        return None


def handler_of(server: EndpointServer) -> type[BaseHTTPRequestHandler]:
    """The class that answers for this server, with its faults."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append((self.path, dict(self.headers), None))
            self._send(server.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append((self.path, dict(self.headers), body))
            match server.faults.pop(0) if server.faults else None:
                case None:
                    self._send(server.change(server.post(self.path, body)))
                case "hang":
                    time.sleep(3)
                case "drip":
                    self._head(200, {"Content-Length": "1000"})
                    for _ in range(30):
                        self.wfile.write(b" ")
                        time.sleep(0.1)
                case "cut":
                    content = json.dumps(server.post(self.path, body)).encode()
                    self._head(200, {"Content-Length": str(len(content))})
                    self.wfile.write(content[: len(content) // 2])
                case "chunked" | "chunked cut" as fault:
                    self.protocol_version = "HTTP/1.1"
                    content = json.dumps(server.post(self.path, body)).encode()
                    self._head(200, {"Transfer-Encoding": "chunked", "Connection": "close"})
                    for part in (content[:50], content[50:]):
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                        if fault == "chunked cut":
                            return
                    self.wfile.write(b"0\r\n\r\n")
                case "redirect":
                    self._head(307, {"Location": "http://elsewhere.example/raykd"})
                case "echo":
                    self._head(401, {})
                    self.wfile.write(f"no such token: {self.headers['Authorization']}".encode())
                case (int(status), dict(headers)):
                    self._head(status, headers)
                case status:
                    self._head(status, {})
                    self.wfile.write(b"broken")

        def _send(self, answer: Answer | None) -> None:
            content = json.dumps(answer).encode()
            self._head(200 if answer is not None else 404, {"Content-Length": str(len(content))})
            self.wfile.write(content)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client did not wait
                super().handle()

    return Handler


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def dead_url() -> str:
    """An address of this machine that nothing listens at."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = server.server_port
    server.server_close()
    return f"http://127.0.0.1:{port}"
