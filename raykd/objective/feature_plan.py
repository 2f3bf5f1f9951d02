"""From the configured features and the shapes of two models: pairs of layers, and the columns that each must give."""

from __future__ import annotations

from dataclasses import dataclass

from raykd.columns import DOMAIN, Column, ColumnKind
from raykd.config import FeaturesConfig, LayerTermConfig, RelationTermConfig
from raykd.objective.layer_map import Pairs, layer_pairs

RELATIONS: tuple[ColumnKind, ...] = ("query", "key", "value")


@dataclass(frozen=True)
class EncoderShape:
    """Transformer layers, width of the hidden states and attention heads of a model."""

    layers: int
    width: int
    heads: int


@dataclass(frozen=True)
class FeaturePlan:
    """What is compared with what.

    Attributes:
        pairs: by term, the layers of student and teacher; 0 is the embedding layer. Of knowledge none.
        student_columns, teacher_columns: the inner outputs that the terms need, sorted.
        relation_heads: of the term minilm, parts that both models' vectors are split into; 0 without it.
    """

    student: EncoderShape
    teacher: EncoderShape
    pairs: dict[str, Pairs]
    student_columns: tuple[Column, ...]
    teacher_columns: tuple[Column, ...]
    relation_heads: int = 0

    @property
    def mean_heads(self) -> bool:
        """Whether attention is compared by its mean over the heads: the models have not as many."""
        return self.student.heads != self.teacher.heads

    @property
    def widths_differ(self) -> bool:
        """Whether the student's states must be projected to be compared."""
        return self.student.width != self.teacher.width


def plan_features(settings: FeaturesConfig, student: EncoderShape, teacher: EncoderShape, seed: int) -> FeaturePlan:
    """The plan; `seed` draws the control map `random`.

    Raises:
        ValueError: a layer is not there, or relation heads do not divide the widths.
    """
    pairs: dict[str, Pairs] = {}
    own: set[Column] = set()
    theirs: set[Column] = set()
    for name, term in settings.terms.items():
        if isinstance(term, LayerTermConfig):
            pairs[name] = layer_pairs(term.layers, student.layers, teacher.layers, seed)
        elif name == "embedding":
            pairs[name] = ((0, 0),)
        else:  # knowledge: of the teacher's domain head, and of one of the student's own on its last layer
            own.add(Column("hidden", student.layers))
            theirs.add(DOMAIN)
        for mine, its in pairs.get(name, ()):
            own.update(_columns(name, mine, student.heads != teacher.heads))
            theirs.update(_columns(name, its, student.heads != teacher.heads))
    heads = _relation_heads(settings.minilm, student, teacher)
    return FeaturePlan(student, teacher, pairs, tuple(sorted(own)), tuple(sorted(theirs)), heads)


def _columns(name: str, layer: int, mean_heads: bool) -> list[Column]:
    match name:
        case "hidden" | "embedding":
            return [Column("hidden", layer)]
        case "attention":
            return [Column("scores", layer, mean_heads)]
        case "pkd":
            return [Column("first", layer)]
        case _:
            return [Column(kind, layer) for kind in RELATIONS]


def _relation_heads(term: RelationTermConfig | None, student: EncoderShape, teacher: EncoderShape) -> int:
    if term is None:
        return 0
    heads = term.heads or student.heads
    for whose, width in (("student", student.width), ("teacher", teacher.width)):
        if width % heads:
            raise ValueError(f"minilm.heads: {heads} relation heads do not divide the {whose}'s width {width}")
    return heads
