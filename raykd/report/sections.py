"""The tables of a run's page: models, classes, efficiency, splits; each is None where a run has nothing for it."""

from __future__ import annotations

from raykd.display.durations import duration
from raykd.display.model_values import value_cells, value_titles
from raykd.display.text import (
    BASELINES,
    count,
    groups_kept,
    metric_name,
    number,
    of_domain,
    share,
    short_name,
    tuned_teachers,
)
from raykd.records.run_result import BaselineResult, RunResult, TeacherResult
from raykd.report.run_files import Run
from raykd.report.views import Column, Reproduction, Row, Section, Table

MOST_CLASSES = 30


def models(run: Run) -> Section | None:
    """Teachers, baselines and the student in one table."""
    if run.result is None:
        return None
    result, size = run.result, count(run.result.student.parameters)
    scored: list[RunResult | BaselineResult | TeacherResult] = [result, *result.teachers, *result.baselines.values()]
    others = sorted({name for model in scored for name in result.reported_scores(model)} - {result.metric})

    def cells(name: str, model: RunResult | BaselineResult | TeacherResult) -> list[str]:
        scores = result.reported_scores(model)
        values = value_cells(result, model, alone=name == "baseline alone")
        return [name, *values, *(number(scores.get(other)) for other in others)]

    rows = []
    for teacher in result.teachers:
        named = cells(f"teacher {teacher.name}", teacher)
        rows.append(Row([*named, count(teacher.parameters), _teacher_pass(teacher)]))
    for name, baseline in result.baselines.items():
        notes = "; ".join([BASELINES.get(name, ""), *tuned_teachers(result, baseline)])
        rows.append(Row([*cells(f"baseline {name}", baseline), size, notes]))
    rows.append(Row([*cells("student", result), size, "distilled"], highlighted=True))
    titles = ["Model", *value_titles(result, short_name(result.metric)), *map(short_name, others), "parameters", ""]
    table = Table.of(titles, rows, text=(0, len(titles) - 1))
    return Section("Teachers, baselines and the student", table=table, notes=_test(result))


def _teacher_pass(teacher: TeacherResult) -> str:
    rows = f"{teacher.rows_computed:,} rows computed, {teacher.rows_reused:,} reused"
    return f"{rows} in {duration(teacher.seconds)}"


def _test(result: RunResult) -> list[str]:
    """Which split the numbers are of, where there is a test split."""
    if not result.test:
        return []
    rows = f" ({result.splits['test'].rows:,} rows)" if "test" in result.splits else ""
    once = "Scored once, at the end; nothing was chosen by it."
    if result.reported_split == "validation":
        scores = ", ".join(f"{metric_name(name)} {number(value)}" for name, value in result.test.items())
        return [f"Test{rows}: {scores}. {once}"]
    note = f"Scores are of the test split{rows}. {once} Checkpoints were chosen by the column validation."
    if result.feedback is not None and result.feedback.teachers:
        note += " Teachers trained by feedback have scores as they were served, before that training."
    return [note]


def classes(run: Run) -> Section | None:
    """Recall, precision and F1 of each class, from the confusion matrix; of very many classes the weakest."""
    if run.result is None or not run.result.confusion:
        return None
    counts, labels = run.result.confusion, run.result.labels or []
    names = labels if len(labels) == len(counts) else [str(k) for k in range(len(counts))]
    answered = [sum(row[k] for row in counts) for k in range(len(counts))]
    scored: list[tuple[float, Row]] = []
    for k, name in enumerate(names):
        true, right = sum(counts[k]), counts[k][k]
        recall, precision = (right / total if total else None for total in (true, answered[k]))
        f1 = 2 * right / (true + answered[k]) if true + answered[k] else None
        cells = [name, f"{true:,}", number(recall), number(precision), number(f1)]
        scored.append((-1.0 if f1 is None else f1, Row(cells)))
    title = "Results by class"
    if len(scored) > MOST_CLASSES:
        scored = sorted(scored, key=lambda entry: entry[0])[:MOST_CLASSES]
        title += f": the {MOST_CLASSES} with the lowest F1 of {len(counts)}"
    rows = [row for _, row in scored]
    return Section(title, table=Table.of(["Class", "rows", "recall", "precision", "F1"], rows, text=(0,)))


def efficiency(run: Run) -> Section | None:
    """The student's speed with and without its teachers, and what the time was spent on."""
    if run.result is None:
        return None
    measured = run.result.efficiency
    sentences = [
        f"The student trained on {measured.samples_per_s:,.0f} samples/s.",
        f"Without a teacher it would train on {measured.student_only_samples_per_s:,.0f}: the same run, less the time "
        f"spent on soft targets and feedback. So its teachers left it {share(measured.ratio)} of its own speed.",
        f"It waited for soft targets during {share(measured.wait_share)} of its training time;"
        f" {share(measured.hit_rate)} of the rows were available when it asked for them.",
    ]
    if measured.targets_s is not None:
        sentences.append(
            f"The teachers' pass took {duration(measured.targets_s)}, the training {duration(measured.train_s)}."
        )
    return Section("Efficiency", [" ".join(sentences)])


def splits(run: Run) -> Section | None:
    """The rows of each subset, their split and their use."""
    if run.result is None or not run.result.splits:
        return None
    rows = [
        Row([name, used.split, f"{used.rows:,}", ", ".join(used.used_for)]) for name, used in run.result.splits.items()
    ]
    overlap = run.result.data.overlap
    note = "No validation row exists in train as well."
    if overlap:
        note = f"{overlap:,} validation rows exist in train as well, so every model's figures are too high."
    groups = run.result.data.groups
    target = run.result.data.target_domain
    notes = [
        *([of_domain(target)] if target else []),
        note,
        *([groups_kept(groups)] if groups else []),
        *_labels_read(run.result),
    ]
    titles = ["Subset", "from split", "rows", "used for"]
    return Section("Splits and their use", table=Table.of(titles, rows, text=(0, 1, 3)), notes=notes)


def _labels_read(result: RunResult) -> list[str]:
    """A sentence for each arm: how many labels were read for it, and by whom; and what the teachers have seen."""
    sentences = []
    for arm, budget in result.budgets.items():
        readers = ", ".join(f"{reader} {rows:,}" for reader, rows in budget.read.items())
        name = "the student" if arm == "student" else f"baseline {arm}"
        sentences.append(f"Labels read for {name}: {budget.total:,} ({readers}).")
    if result.seen:
        seen = "; ".join(f"{name}: {', '.join(splits)}" for name, splits in result.seen.items())
        sentences.append(f"The teachers were fitted on: {seen}.")
    return sentences


def reproduction(run: Run) -> Reproduction:
    """Configuration, seed, versions and content addresses."""
    rows: list[Row] = []
    if run.result is not None:
        pairs = {"seed": str(run.result.seed), **run.result.versions, "data": run.result.data.fingerprint}
        pairs |= {f"soft targets of {teacher.name}": teacher.address for teacher in run.result.teachers}
        rows = [Row(pair) for pair in pairs.items()]
    return Reproduction(run.config_text, Table([Column(""), Column("")], rows))
