"""Draws a run so far: phases, the teachers' soft targets, and each model in training with its bars and numbers."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from raykd.display.durations import clock
from raykd.records.run_state import TEACHER, Phase, RunState, TargetsState, TrainingState

WIDEST = 100
OLD_PHASES = 6
MOST_TEACHERS = 3


class RunView:
    """A rich renderable of a `RunState` at a given time (unix seconds)."""

    def __init__(self, state: RunState, now: float, start: float, stopped: bool = False) -> None:
        self.state, self.now, self.start, self.stopped = state, now, start, stopped

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.plain = options.ascii_only  # no ticks and dots where the terminal has none
        width = min(WIDEST, options.max_width)
        yield from console.render(Group(*self._parts()), options.update_width(width))

    def _parts(self) -> list[RenderableType]:
        parts: list[RenderableType] = [self._headline()]
        old = [phase for phase in self.state.phases if phase.end is not None]
        if old:
            parts.append(self._old_phases(old))
        if self.state.targets:
            parts += ["", self._targets()]
        for name, training in self.state.training.items():
            if not (training.done and name.startswith(TEACHER)):  # the phases list a teacher that is ready
                parts += ["", self._training(name, training)]
        return parts

    def _headline(self) -> Text:
        line = Text(no_wrap=True, overflow="crop" if self.plain else "ellipsis")
        running = [phase for phase in self.state.phases if phase.end is None]
        if self.state.done:
            line.append(f"{self._mark('✓', 'ok')} finished", "bold green")
        elif self.stopped:
            line.append("stopped", "bold yellow")
            line.append(f" in {running[-1].name}" if running else "")
        elif running:
            frames = "|/-\\" if self.plain else "◐◓◑◒"
            line.append(f"{frames[int(self.now * 2) % 4]} {running[-1].name}", "bold cyan")
            line.append(f"  {clock(self.now - running[-1].start)}", "cyan")
        else:
            line.append("starting", "bold cyan")
        line.append(f"   {clock(self.now - self.start)} in all", "dim")
        return line

    def _old_phases(self, phases: list[Phase]) -> RenderableType:
        shown = [f"{phase.name} {clock((phase.end or 0) - phase.start)}" for phase in phases[-OLD_PHASES:]]
        more = [f"{len(phases) - OLD_PHASES} earlier"] if len(phases) > OLD_PHASES else []
        return self._below(f"{self._mark('✓', 'done:')} " + self._join(more + shown), "dim")

    def _targets(self) -> RenderableType:
        bars = self._bars()
        for name, targets in self.state.targets.items():
            count = f"{targets.rows:,} of {targets.of:,} rows"
            self._add(bars, f"teacher {name}", targets.rows, targets.of, count, _left_of_targets(targets))
        return bars.make_tasks_table(bars.tasks)

    def _training(self, name: str, training: TrainingState) -> RenderableType:
        bars, left = self._bars(), training.seconds_left(self.now)
        ending = "done" if training.done else "" if left is None or self.stopped else f"{clock(left)} left"
        count = f"step {training.step:,} of {training.steps:,}"
        self._add(bars, name, training.step, training.steps, count, ending)
        if not training.done:
            number, part = training.epoch_part
            self._add(bars, "", part, 1.0, f"epoch {number} of {training.epochs:g}", "")
        parts: list[RenderableType] = [bars.make_tasks_table(bars.tasks)]
        parts.append(self._below(self._numbers(training), "dim" if training.done else ""))
        if training.policy is not None:
            parts.append(self._below(policy_text(training, self._mark(" · ", ", ")), "dim"))
        feedback = feedback_texts(training, self._mark("→", "->"))
        if feedback:
            parts.append(self._below(self._join(feedback), "dim"))
        return Group(*parts)

    def _numbers(self, training: TrainingState) -> str:
        losses = dict(training.losses)
        parts = [f"loss {losses.pop('loss'):.4f}"] if "loss" in losses else []
        if "soft" in losses:
            terms = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            parts[-1:] = [" ".join([*parts[-1:], f"({terms})"])]
        if training.value is not None and training.best is not None:
            best = f"best {training.best:.4f} at step {training.best_step:,}"
            parts.append(f"{training.metric} {training.value:.4f}, {best}")
        if training.samples_per_s is not None and not training.done:
            parts.append(f"{training.samples_per_s:,.0f} samples/s")
        if training.wait_share is not None:
            parts.append(f"waiting {training.wait_share:.1%}")
        return self._join(parts)

    def _bars(self) -> Progress:
        """Columns for name, bar, count and time left; only its table is drawn, so it has no thread of its own."""
        name = Column(width=20, no_wrap=True, style="bold", overflow="crop" if self.plain else "ellipsis")
        return Progress(
            TextColumn("{task.description}", style="bold", markup=False, table_column=name),
            BarColumn(
                None, complete_style="cyan", finished_style="green", table_column=Column(ratio=1)
            ),
            TextColumn(
                "{task.fields[count]}", justify="right", markup=False, table_column=Column(no_wrap=True, min_width=20)
            ),
            TextColumn(
                "{task.fields[left]}", style="cyan", justify="right", markup=False,
                table_column=Column(no_wrap=True, min_width=12),
            ),
            auto_refresh=False,
            expand=True,
        )  # fmt: skip

    def _add(self, bars: Progress, name: str, completed: float, total: float, count: str, left: str) -> None:
        bars.add_task(name, total=total or 1.0, completed=completed, count=count, left=left)  # type: ignore[arg-type]

    def _below(self, text: str, style: str) -> RenderableType:
        return Padding(Text(text, style), (0, 0, 0, 2))

    def _join(self, parts: list[str]) -> str:
        return self._mark(" · ", ", ").join(parts)

    def _mark(self, sign: str, plain: str) -> str:
        return plain if self.plain else sign


def _left_of_targets(targets: TargetsState) -> str:
    rate = targets.rows_per_s
    if targets.done:
        return "done"
    return "" if rate is None else f"{clock((targets.of - targets.rows) / rate)} left"


def policy_text(training: TrainingState, between: str = ", ") -> str:
    """How often the policy chooses each teacher; of many, the most chosen. Empty without a policy."""
    shares = training.policy.newest if training.policy is not None else {}
    if not shares:
        return ""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    parts = [f"{name} {share:.0%}" for name, share in ordered[:MOST_TEACHERS]]
    parts += [f"{len(ordered) - MOST_TEACHERS} more"] if len(ordered) > MOST_TEACHERS else []
    return f"chosen: {between.join(parts)}"


def feedback_texts(training: TrainingState, arrow: str = "->") -> list[str]:
    """The last quiz loss, and each teacher's version and metric under feedback; empty without feedback."""
    feedback = training.feedback
    if feedback is None:
        return []
    parts = []
    if feedback.quiz_after is not None:
        before = "" if feedback.quiz_before is None else f"{feedback.quiz_before:.4f} {arrow} "
        parts.append(f"quiz loss {before}{feedback.quiz_after:.4f}")
    for name, teacher in list(feedback.teachers.items())[:MOST_TEACHERS]:
        version = "" if teacher.version is None else f" v{teacher.version}"
        value = teacher.value(training.metric)
        scores = f" {training.metric} {value.last:.4f} (began {value.first:.4f})" if value else ""
        parts.append(f"{name}{version}{scores}")
    more = len(feedback.teachers) - MOST_TEACHERS
    return [*parts, f"{more} more"] if more > 0 else parts
