"""Draws where a run stands: phases, the teachers' pass, and each model in training with its bars and numbers."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raykd.records.durations import clock
from raykd.records.run_state import Phase, RunState, TeacherPass, Training

WIDEST = 100
OLD_PHASES = 6
MOST_TAUGHT = 3


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
        if self.state.teachers:
            parts += ["", self._teachers()]
        for name, one in self.state.training.items():
            if not (one.done and name.startswith("teacher ")):  # what they have learnt is told by the phases
                parts += ["", self._training(name, one)]
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
        said = f"{self._mark('✓', 'done:')} " + self._mark(" · ", ", ").join(more + shown)
        return Padding(Text(said, "dim"), (0, 0, 0, 2))

    def _teachers(self) -> RenderableType:
        table = self._table()
        for name, one in self.state.teachers.items():
            said = f"{one.rows:,} of {one.of:,} rows"
            table.add_row(f"teacher {name}", self._bar(one.rows, one.of), said, self._pace(one))
        return table

    def _pace(self, one: TeacherPass) -> str:
        rate = one.rows_per_s
        if one.done:
            return "done"
        return "" if rate is None else f"{clock((one.of - one.rows) / rate)} left"

    def _training(self, name: str, one: Training) -> RenderableType:
        table = self._table()
        left = one.seconds_left(self.now)
        ending = "done" if one.done else "" if left is None or self.stopped else f"{clock(left)} left"
        table.add_row(name, self._bar(one.step, one.steps), f"step {one.step:,} of {one.steps:,}", ending)
        if not one.done:
            number, part = one.epoch_part
            table.add_row("", self._bar(part, 1.0), f"epoch {number} of {one.epochs:g}", "")
        parts: list[RenderableType] = [table, self._below(self._numbers(one), "dim" if one.done else "")]
        if one.chosen:
            parts.append(self._below(choices(one, self._mark(" · ", ", ")), "dim"))
        learnt = feedback_text(one, self._mark("→", "->"))
        if learnt:
            parts.append(self._below(self._mark(" · ", ", ").join(learnt), "dim"))
        return Group(*parts)

    def _below(self, said: str, style: str) -> RenderableType:
        return Padding(Text(said, style), (0, 0, 0, 2))

    def _numbers(self, one: Training) -> str:
        losses = dict(one.losses)
        said = [f"loss {losses.pop('loss'):.4f}"] if "loss" in losses else []
        if "soft" in losses:
            said[-1:] = [" ".join([*said[-1:], "(" + ", ".join(f"{k} {v:.3f}" for k, v in losses.items()) + ")"])]
        if one.value is not None and one.best is not None:
            said.append(f"{one.metric} {one.value:.4f}, best {one.best:.4f} at step {one.best_step:,}")
        if one.samples_per_s is not None and not one.done:
            said.append(f"{one.samples_per_s:,.0f} samples/s")
        if one.wait_share is not None:
            said.append(f"waiting {one.wait_share:.1%}")
        return self._mark(" · ", ", ").join(said)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=20, no_wrap=True, style="bold", overflow="crop" if self.plain else "ellipsis")
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True, min_width=20)
        table.add_column(justify="right", no_wrap=True, min_width=12, style="cyan")
        return table

    def _bar(self, done: float, of: float) -> ProgressBar:
        return ProgressBar(total=of or 1.0, completed=done, complete_style="cyan", finished_style="green")

    def _mark(self, sign: str, plain: str) -> str:
        return plain if self.plain else sign


def choices(one: Training, between: str = ", ") -> str:
    """How often the policy chooses each teacher, of many the most chosen."""
    ordered = sorted(one.chosen.items(), key=lambda item: -item[1])
    said = [f"{name} {share:.0%}" for name, share in ordered[:MOST_TAUGHT]]
    more = [f"{len(ordered) - MOST_TAUGHT} more"] if len(ordered) > MOST_TAUGHT else []
    return f"chosen: {between.join([*said, *more])}"


def feedback_text(one: Training, arrow: str = "->") -> list[str]:
    """The last quiz loss and where each taught teacher stands, in few words; nothing where none is taught."""
    if one.feedback_text is None:
        return []
    seen, said = one.feedback_text, []
    if seen.quiz_after is not None:
        before = "" if seen.quiz_before is None else f"{seen.quiz_before:.4f} {arrow} "
        said.append(f"quiz loss {before}{seen.quiz_after:.4f}")
    names = list(dict.fromkeys((*seen.now, *seen.versions)))
    for name in names[:MOST_TAUGHT]:
        version = f" v{seen.versions[name]}" if name in seen.versions else ""
        began, now = (scores.get(name, {}).get(one.metric) for scores in (seen.began, seen.now))
        value = "" if now is None else f" {one.metric} {now:.4f}"
        value += f" (began {began:.4f})" if value and began is not None else ""
        said.append(f"{name}{version}{value}")
    return [*said, f"{len(names) - MOST_TAUGHT} more"] if len(names) > MOST_TAUGHT else said
