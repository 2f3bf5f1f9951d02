"""Which model: the sections `student` and `teachers[]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raykd.config.base import Name, Section
from raykd.config.training import FinetuneConfig


class ModelConfig(Section):
    """A checkpoint (`from`), a truncation of one (`from` and `layers`), or a fresh BERT-shaped model (`layers`, …)."""

    shorthand = "from"

    from_: str | None = Field(None, alias="from", description="hub name or folder of a checkpoint (safetensors)")
    layers: int | list[int] | None = Field(
        None, description="layers of a fresh model; with `from`: how many to keep (evenly spread), or which, from 0"
    )
    hidden_size: int | None = Field(None, ge=8, description="width of a fresh model")
    heads: int | None = Field(None, ge=1, description="attention heads of a fresh model")
    intermediate_size: int | None = Field(None, ge=8, description="feed-forward width; default 4 × hidden_size")
    vocab_size: int = Field(8000, ge=64, description="largest vocabulary of a tokenizer trained on the corpus")
    tokenizer: str = Field(
        "wordpiece", description="of a fresh model: wordpiece or bpe, trained on the corpus, or a hub name or folder"
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="hidden and attention dropout; null: the checkpoint's")

    @model_validator(mode="after")
    def _complete(self) -> ModelConfig:
        if isinstance(self.layers, int) and self.layers < 1:
            raise ValueError("layers must be at least 1")
        if isinstance(self.layers, list) and (not self.layers or min(self.layers) < 0):
            raise ValueError("layers must name at least one layer, counted from 0")
        if self.from_ is not None:
            given = [key for key in ("hidden_size", "heads", "intermediate_size") if getattr(self, key) is not None]
            if given:
                raise ValueError(f"{given[0]} cannot be set with `from`: a checkpoint brings its own")
            return self
        if not isinstance(self.layers, int) or self.hidden_size is None or self.heads is None:
            raise ValueError("give `from` (a checkpoint), or `layers`, `hidden_size` and `heads` of a fresh model")
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self


class TeacherConfig(Section):
    """One teacher of the ensemble and where its replicas run."""

    shorthand = "model"

    name: Name | None = Field(None, description="default: teacher0, teacher1, …")
    model: ModelConfig = Field(description="a hub name or folder, or a mapping as for `student`")
    prepare: Literal["given", "finetune"] = Field(
        "given", description="given: a classifier of this task already; finetune: train it on the training rows first"
    )
    finetune: FinetuneConfig = Field(FinetuneConfig(), description="used with prepare: finetune")
    domains: list[str] | None = Field(None, description="a specialist: fine-tuned on the rows of these domains alone")
    labels: list[str] | None = Field(None, description="names of the logit columns, where the checkpoint has none")
    max_length: int | None = Field(None, ge=4, description="tokens of a row for this teacher; default data.max_length")
    precision: Literal["auto", "float32", "bfloat16", "float64"] = Field(
        "auto", description="of the forward pass; auto: bfloat16 on GPUs that have it, float32 else"
    )
    replicas: int = Field(1, ge=1, description="copies that answer side by side")
    num_cpus: float = Field(1, ge=0, description="logical CPUs of a replica")
    num_gpus: float = Field(0, ge=0, description="GPUs of a replica; a fraction shares one")
    resources: dict[str, float] = Field({}, description="custom resources that place replicas, {teacher_slot: 1}")
    node_labels: dict[str, str] = Field(
        {}, description="labels of the nodes that may run replicas, {raykd-role: teacher}"
    )
    threads: int | None = Field(None, ge=1, description="torch threads of a replica; null: chosen and logged")
    batch_tokens: int | None = Field(None, ge=16, description="tokens of one call; null: 2048 on a CPU, 32768 on a GPU")

    @model_validator(mode="after")
    def _prepared(self) -> TeacherConfig:
        if self.prepare == "given" and self.model.from_ is None:
            raise ValueError("a fresh model has learnt nothing yet: set prepare: finetune")
        if self.prepare == "given" and self.model.layers is not None:
            raise ValueError("a truncated model must be trained again: set prepare: finetune")
        if self.prepare == "given" and self.domains is not None:
            raise ValueError("domains choose the rows of fine-tuning: set prepare: finetune")
        return self
