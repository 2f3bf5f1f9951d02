"""Which model: the section `student`, and `model` of a teacher."""

from __future__ import annotations

from pydantic import Field, model_validator

from raykd.config.base import Section


class ModelConfig(Section):
    """A checkpoint (`from`), a truncation of one (`from` and `layers`), or a fresh BERT-shaped model (`layers`, …)."""

    shorthand = "from"

    from_: str | None = Field(
        None,
        alias="from",
        description="hub name or folder of a checkpoint (safetensors)",
        examples=["nreimers/MiniLM-L6-H384-uncased"],
    )
    layers: int | list[int] | None = Field(
        None,
        description="layers of a fresh model; with `from`: how many to keep (evenly spread), or which, from 0",
        examples=[2, [0, 5]],
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
            fresh = [key for key in ("hidden_size", "heads", "intermediate_size") if getattr(self, key) is not None]
            if fresh:
                raise ValueError(f"{fresh[0]} cannot be set with `from`: a checkpoint brings its own")
            return self
        if not isinstance(self.layers, int) or self.hidden_size is None or self.heads is None:
            raise ValueError("give `from` (a checkpoint), or `layers`, `hidden_size` and `heads` of a fresh model")
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        return self
