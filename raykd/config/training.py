"""How a model is trained: the sections `train` and `teachers[].finetune`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from raykd.config.base import Mark, Section, Seed

Precision = Literal["auto", "float32", "bfloat16", "float64"]


class OptimConfig(Section):
    """AdamW with warm-up and decay, evaluation and early stopping."""

    epochs: float = Field(3, gt=0, description="passes over the training rows; a fraction stops within an epoch")
    max_steps: int | None = Field(None, ge=1, description="stop after so many optimizer steps, whatever the epochs")
    batch_size: int = Field(32, ge=1, description="rows of one optimizer step, over all workers and micro-batches")
    gradient_accumulation: int = Field(
        1, ge=1, description="micro-batches that a worker splits its part of a batch into"
    )
    lr: Annotated[float, Mark.LIVE] = Field(5e-5, gt=0, description="peak learning rate")
    weight_decay: Annotated[float, Mark.LIVE] = Field(
        0.01, ge=0, description="decoupled decay; none on biases and layer norms"
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps with a rising learning rate")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="decay after the warm-up")
    max_grad_norm: Annotated[float | None, Mark.LIVE] = Field(
        1.0, gt=0, description="largest gradient norm; null for no clipping"
    )
    eval_every: int | None = Field(None, ge=1, description="steps between evaluations; null for once an epoch")
    early_stopping_patience: int | None = Field(
        None, ge=1, description="evaluations without a better one before training stops"
    )
    checkpoint_every: int | None = Field(None, ge=1, description="steps between checkpoints; null: at evaluations")
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    freeze_embeddings: bool = Field(False, description="keep the word embeddings as they are: half the time on a CPU")
    group_by_length: bool = Field(True, description="batches of rows of like length: less padding")
    precision: Precision = Field("auto", description="auto: bfloat16 autocast on GPUs that have it, float32 else")
    workers: Annotated[int, Mark.SHARED] = Field(
        1, ge=1, description="data-parallel workers; several run through Ray Train"
    )
    min_workers: Annotated[int | None, Mark.SHARED, Mark.PLACEMENT] = Field(
        None,
        ge=1,
        description="with fewer nodes as few workers, with more up to `workers`, each time from the last checkpoint; "
        "needs `worker_resources` that nothing else asks for; null: always `workers`",
    )
    worker_cpus: Annotated[float, Mark.SHARED, Mark.PLACEMENT] = Field(
        1, gt=0, description="logical CPUs of each worker"
    )
    worker_gpus: Annotated[float, Mark.SHARED] = Field(
        0, ge=0, description="GPUs of each worker; a fraction shares one"
    )
    worker_resources: Annotated[dict[str, float], Mark.SHARED, Mark.PLACEMENT] = Field(
        {}, description="custom resources that place workers", examples=[{"student_slot": 1}]
    )
    threads: int | None = Field(None, ge=1, description="torch threads of a worker; null: the machine's cores, shared")
    max_failures: Annotated[int, Mark.SHARED, Mark.PLACEMENT] = Field(
        3, ge=0, description="restarts of the worker group before the run fails"
    )

    @model_validator(mode="after")
    def _elastic(self) -> Self:
        if self.min_workers is None:
            return self
        if self.min_workers > self.workers:
            raise ValueError(f"min_workers: {self.min_workers} are more than workers, {self.workers}")
        if not self.worker_resources:
            # Ray Train counts whole nodes: CPUs that teachers hold would be places for workers to it.
            raise ValueError("min_workers: needs worker_resources that only workers ask for, as {student_slot: 1}")
        return self


class TrainConfig(OptimConfig):
    """How the student is trained: `train`."""

    prefetch: Annotated[int, Mark.PLACEMENT] = Field(
        4, ge=1, description="batches whose soft targets are requested ahead of time"
    )
    equal_steps: Annotated[bool, Mark.SHARED] = Field(
        True, description="baselines make as many optimizer steps as the student, whatever rows they have"
    )
    labeled_share: float | None = Field(
        None, gt=0, lt=1, description="part of a batch that has labels, repeated as needed; null: as the rows come"
    )
    overlap: Annotated[bool | None, Mark.SHARED, Mark.PLACEMENT] = Field(
        None,
        description="train while the teachers still compute; null: yes unless both share this machine's CPU cores",
    )


class FinetuneConfig(OptimConfig):
    """How a teacher is fine-tuned: `teachers[].finetune`."""

    epochs: float = Field(2, gt=0, description="passes over the training rows")
    seed: Seed = Field(0, description="the teacher's own seed, so that student seeds share teachers")
    max_train_rows: int | None = Field(
        None,
        ge=2,
        description="the teacher's own budget: so many labelled rows, drawn from all that are not held out, also beyond"
        " data.max_train_rows; null: the student's",
    )


class MetaFinetuneConfig(FinetuneConfig):
    """How a meta-teacher is trained, with the paper's defaults."""

    epochs: float = Field(3, gt=0, description="passes over the training rows")
    lr: Annotated[float, Mark.LIVE] = Field(2e-5, gt=0, description="peak learning rate")
