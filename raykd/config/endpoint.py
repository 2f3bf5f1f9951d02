"""The keys of a teacher that is asked over HTTP: where, in which form, what it must serve (docs/endpoints.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from raykd.config.base import Mark, Section

EndpointForm = Literal["raykd", "vllm", "tei"]
"""How requests and answers look."""
Outputs = Literal["logits", "probabilities"]
"""What the numbers of an answer are."""
FORM_OUTPUTS: dict[EndpointForm, Outputs] = {"raykd": "logits", "vllm": "probabilities", "tei": "logits"}
"""What is asked for where `outputs` is not set."""
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _refused(url: str) -> str | None:
    """Why requests cannot be sent to an address; the address itself is not repeated, it may hold a password."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not url.isascii() or any(sign.isspace() or not sign.isprintable() for sign in url):
        return "is no address: write http://HOST:PORT or https://HOST/PATH"
    if parts.username is not None or parts.password is not None:
        return "holds a user or password, which would be written to files: leave them out, see token_variable"
    if parts.query or parts.fragment:
        return "has a query or fragment (after ? or #): leave it out; a token goes into token_variable"
    return None


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Url = Annotated[str, AfterValidator(lambda url: url.rstrip("/"))]


class EndpointKeys(Section):
    """Where a server is, how it is asked and what it must serve."""

    endpoint: Annotated[list[Url], Mark.PLACEMENT, BeforeValidator(_list)] = Field(
        min_length=1,
        description="its address, or a list of servers of the same model; each request goes to the next of them",
        examples=[["http://127.0.0.1:8000"]],
    )
    form: EndpointForm = Field(
        "raykd",
        description="of requests and answers: raykd, the JSON of docs/endpoints.md; vllm, of vLLM and SGLang; tei, of"
        " Text Embeddings Inference",
    )
    outputs: Outputs | None = Field(
        None,
        description="what the numbers of an answer are; null: what the form gives, probabilities of vllm, else logits",
    )
    labels: list[str] | None = Field(
        None,
        description="names of the columns in the server's order, where the server gives no names, or others",
        examples=[["negative", "positive"]],
    )
    model_id: str | None = Field(
        None, min_length=1, description="the model that the server must serve; null: whatever it serves at the start"
    )
    revision: str | None = Field(None, min_length=1, description="the same of the model's revision")
    token_variable: Annotated[str | None, Mark.PLACEMENT] = Field(
        None,
        pattern=VARIABLE,
        description="name of the environment variable with a bearer token, set where replicas run",
        examples=["ENDPOINT_TOKEN"],
    )
    request_timeout_s: Annotated[float, Mark.PLACEMENT] = Field(60, gt=0, description="seconds for one request")
    retries: Annotated[int, Mark.PLACEMENT] = Field(
        6, ge=0, description="further attempts for a request that gets no answer, 429 or 5xx"
    )
    batch_rows: Annotated[int, Mark.PLACEMENT] = Field(32, ge=1, description="rows of one request")
    seen: list[str] | None = Field(
        None,
        description="splits that its model was fitted on, for the account of labels; null: unknown",
        examples=[["train"]],
    )

    @model_validator(mode="after")
    def _usable(self) -> EndpointKeys:
        # Here and not beside `Url`: the message of a field's error repeats the value.
        for n, url in enumerate(self.endpoint):
            if (refusal := _refused(url)) is not None:
                raise ValueError(f"endpoint: item {n} {refusal}")
        if self.form == "vllm" and self.revision is not None:
            raise ValueError("revision: vLLM and SGLang do not tell theirs: make it part of the name that they serve")
        return self

    @property
    def numbers(self) -> Outputs:
        """What the numbers of an answer are: `outputs`, or what the form gives."""
        return self.outputs or FORM_OUTPUTS[self.form]
