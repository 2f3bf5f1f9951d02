"""What a finished run or trial came to, as typed records; result.json holds a `RunResult`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raykd.records.events import Scores
from raykd.records.features_result import FeaturesResult
from raykd.records.prototype_result import PrototypeResult
from raykd.records.record import Record

SCHEMA_VERSION: Literal[1] = 1
ScoredSplit = Literal["validation", "test"]
"""A split that every model of a run is scored on."""


class EndpointResult(Record):
    """What a server has said that it serves, and how it was asked.

    Attributes:
        form: of requests and answers.
        outputs: what the numbers of its answers are, logits or probabilities.
        labels: its names of the columns in its order; None where it tells none.
    """

    form: str
    model: str
    revision: str | None
    outputs: str
    labels: list[str] | None


class TeacherResult(Record):
    """A teacher as served at the beginning, and what its soft targets cost this run.

    Attributes:
        metric: the task's metric on the validation rows.
        test: scores on the test split, taken once at the end; None where there is none.
        version: 0 for a frozen teacher.
        forwards: rows that its replicas forwarded for anybody; `rows_computed` those for this run.
        seconds: of forward passes.
        parameters: None of an endpoint, which does not tell them.
        address: content address of its soft targets.
        prototypes: of a meta-teacher, how its domains lie to one another.
        endpoint: of a server that was asked, what it serves.
    """

    name: str
    metric: float | None
    scores: Scores
    test: Scores | None = None
    version: int
    forwards: int
    rows_computed: int
    rows_reused: int
    seconds: float
    parameters: int | None
    address: str
    prototypes: PrototypeResult | None = None
    endpoint: EndpointResult | None = None


class Gap(Record):
    """How much of the way from the student alone to the best teacher was made; None where one of them is not known.

    Attributes:
        split: that all values of the result are reported on: test where every model has a score on it.
        teacher: of the best teacher on validation, also where the value is of the test split.
    """

    split: ScoredSplit = "validation"
    teacher: float | None
    alone: float | None
    student: float | None
    closed: float | None


class Efficiency(Record):
    """Where the student's time went.

    Attributes:
        student_only_samples_per_s: the speed without the time spent on targets and feedback.
        ratio: the share of its time that was its own.
        wait_share: the share spent waiting for soft targets.
        hit_rate: the share of rows times teachers that were available when asked for.
        targets_s: seconds of the teachers' pass.
        asked: rows times teachers asked for.
    """

    samples_per_s: float
    student_only_samples_per_s: float
    ratio: float
    wait_share: float
    hit_rate: float
    train_s: float
    feedback_s: float
    targets_s: float | None = None
    asked: int = 0


class ModelSize(Record):
    """Parameters, layers and width; milliseconds a row on the CPU where they were measured."""

    parameters: int
    layers: int | None = None
    hidden_size: int | None = None
    latency_ms: float | None = None


class SplitUse(Record):
    """The rows of a subset, the split that they come from, and what used them.

    Attributes:
        fingerprint: of the split's content; empty in results of earlier versions.
    """

    split: str
    rows: int
    used_for: list[str]
    fingerprint: str = ""


class LabelBudget(Record):
    """Labels that were read for one arm.

    Attributes:
        total: distinct ones, the teachers' fine-tuning and the choice of the checkpoint included; what teachers that
            were given have read is not known.
        read: by reader, distinct ones each.
    """

    total: int
    read: dict[str, int]


class GroupResult(Record):
    """Rows that were kept on one side of every holdout (`data.group`).

    Attributes:
        by: the column, or `contained`.
        groups: how many there are of the labelled rows.
        inside: held-out subset → how many of its rows stand inside a row that was learnt from.
    """

    by: str
    groups: int
    inside: dict[str, int]


class DataResult(Record):
    """Validation rows that are also in train, the fingerprint of the training split, groups where there are any, and
    the domain that the student's rows and all scores are of, where there is a target domain."""

    overlap: int
    fingerprint: str
    groups: GroupResult | None = None
    target_domain: str | None = None


class TrainedTeacherResult(Record):
    """A teacher under feedback, or on the quiz's labels: scores on validation before and after, distance from the
    reference, exported folder."""

    began: Scores
    ended: Scores
    drift: float | None
    versions: int
    folder: str


class BaselineResult(Record):
    """A baseline's best value on validation, its scores on the test split where there is one, and its speed.

    Attributes:
        teachers: by name those that were trained for it alone: `quiz_teacher`.
        rows_computed: soft targets that were computed for it alone; None where it has the student's teachers.
    """

    value: float | None
    scores: Scores
    test: Scores | None = None
    seconds: float
    samples_per_s: float
    teachers: dict[str, TrainedTeacherResult] = Field(default_factory=dict)
    rows_computed: int | None = None


class FeedbackResult(Record):
    """A whole run's feedback; means over its measured rounds."""

    type: str
    route: str
    route_reason: str
    surrogate: str | None
    split: str
    rounds: int
    seconds: float
    wire_bytes: int
    quiz_before: float | None
    quiz_after: float | None
    cosine_quiz: float | None
    teachers: dict[str, TrainedTeacherResult]


class PolicyUpdate(Record):
    """The metrics of one update of the policy, see `events.PolicyEvent`."""

    reward: float | None = None
    entropy: float | None = None
    rows: float | None = None
    share: dict[str, float | None] = Field(default_factory=dict)


class WeightGroup(Record):
    """Rows of one class, domain or length, and each teacher's mean weight on them."""

    group: str
    rows: int
    weight: dict[str, float]


class TeacherWeights(Record):
    """Mean weight of each teacher over training rows: over all of them, and by class, domain and length."""

    rows: int
    all: dict[str, float]
    groups: dict[Literal["class", "domain", "length"], list[WeightGroup]] = Field(default_factory=dict)


class WeightingResult(Record):
    """What the weighting did; the policy's fields are None for a rule."""

    mode: str | None = None
    reward: str | None = None
    updates: int | None = None
    began: PolicyUpdate | None = None
    ended: PolicyUpdate | None = None
    entropy_uniform: float | None = None
    teacher_weights: TeacherWeights | None = None


class RunResult(Record):
    """A finished run (`distill`) or trial.

    Attributes:
        value: the best on validation of `metric`, which also chose the checkpoint.
        test: scores on the test split, scored once at the end; None where there is none.
        splits: which split fed what.
        budgets: by arm (`student`, baselines by name) the labels that were read for it.
        seen: by teacher's name the splits that it was fitted on.
        confusion: [C][C] counts on validation, rows are true classes; None for a regression.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["distill", "trial"] = "distill"
    name: str
    metric: str
    value: float | None
    scores: Scores
    test: Scores | None = None
    best_step: int
    steps: int
    epochs: float
    teachers: list[TeacherResult]
    baselines: dict[str, BaselineResult]
    gap: Gap
    efficiency: Efficiency
    student: ModelSize
    splits: dict[str, SplitUse]
    budgets: dict[str, LabelBudget] = Field(default_factory=dict)
    seen: dict[str, list[str]] = Field(default_factory=dict)
    data: DataResult
    feedback: FeedbackResult | None = None
    weighting: WeightingResult | None = None
    features: FeaturesResult | None = None
    warnings: list[str]
    confusion: list[list[int]] | None = None
    labels: list[str] | None = None
    seed: int
    versions: dict[str, str]
    seconds: float = 0.0

    def rows_of(self, split: ScoredSplit) -> int:
        """Rows of a split that models are scored on; 0 where the result has no such split."""
        return self.splits[split].rows if split in self.splits else 0

    @property
    def validation_rows(self) -> int:
        """Rows of the validation split; 0 where the result has none."""
        return self.rows_of("validation")

    @property
    def reported_split(self) -> ScoredSplit:
        """The split whose values are reported: test where every model was scored on it, else validation."""
        return self.gap.split

    def reported_scores(self, model: RunResult | BaselineResult | TeacherResult) -> Scores:
        """The scores of the student (the result itself), a baseline or a teacher on the reported split."""
        return (model.test or {}) if self.reported_split == "test" else model.scores

    def reported_value(self, model: RunResult | BaselineResult | TeacherResult) -> float | None:
        """The task's metric of the student (the result itself), a baseline or a teacher on the reported split."""
        if self.reported_split == "test":
            return (model.test or {}).get(self.metric)
        return validation_value(model)


def validation_value(model: RunResult | BaselineResult | TeacherResult) -> float | None:
    """The task's metric of a model on the validation rows, which chose its checkpoint if it was trained in the run."""
    return model.metric if isinstance(model, TeacherResult) else model.value
