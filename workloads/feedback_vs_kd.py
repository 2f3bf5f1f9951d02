"""Shows: does a teacher that learns from its student teach better than a frozen one, or than one that is fine-tuned on?

Command:
    python -m raykd.workloads.feedback_vs_kd workloads/sst2.yaml runs/feedback --seeds 0,1,2,3,4 [KEY=VALUE]
    python -m raykd.workloads.feedback_vs_kd workloads/mrpc.yaml runs/feedback_mrpc "student.layers=[0,2,3,5]" \
        --lrs 2e-4 --teacher-lrs 1e-3,3e-3 --rounds "teacher_optimizer: sgd, every: 8, quiz_batches: 2"

Arms: `kd` (frozen teacher, all rows), `same_rows` (the same without the rows that the others hold out for the quiz),
`finetuned` (the teacher takes as many steps on its own cross-entropy, ω = 0), `metadistil`, `centred` (the
same without what all rows of a batch have in common), `ikd`, and `balanced` and `ikd_balanced` (feedback and cross-
entropy with gradients of one length, by the norms that the report of `ikd` and `finetuned` gives on SST-2). Each has
four points to be tuned at, on one seed and on rows carved from train: the frozen ones the student's rate, the others
the teacher's, at the student's rate that was best for `same_rows`. The seeds are then scored on the published
validation rows, and each arm is compared with `kd` and `same_rows` seed by seed.
Every run is a folder of its own: interrupt it and give the command again, finished runs are not done again.
"""

from __future__ import annotations

import json
import logging
import statistics
from typing import Any

from raykd import config as configuration
from raykd import runtime
from raykd.records.run_result import RunResult

from .draws import program, run, write_table
from .kd_vs_alone import choose, comparison, listed, summary

log = logging.getLogger(__name__)
RATES = ["1e-4", "2e-4", "4e-4", "8e-4"]
TEACHER_RATES = ["1e-2", "3e-2", "1e-1", "3e-1"]
ROUNDS = "teacher_optimizer: sgd, every: 8, quiz_batches: 4"
ARMS = {
    "finetuned": "type: metadistil, weight: 0, teacher_ce: 1",
    "metadistil": "type: metadistil",
    "balanced": "type: metadistil, weight: 0.01, teacher_ce: 1",
    "centred": "type: metadistil, centred: true",
    "ikd": "type: ikd",
    "ikd_balanced": "type: ikd, weight: 1.0e-4",
}


def against(arm: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """The differences from another arm seed by seed: mean and deviation."""
    gaps = [mine - theirs for mine, theirs in zip(arm["values"], other["values"], strict=True)]
    return {"mean": statistics.fmean(gaps), "sd": statistics.stdev(gaps) if len(gaps) > 1 else 0.0}


def main() -> None:
    """Tunes, runs the seeds, writes table.json."""
    parser = comparison(__doc__, RATES)
    parser.add_argument("--teacher-lrs", type=listed, default=TEACHER_RATES)
    parser.add_argument("--arms", type=listed, default=["kd", *ARMS], help="beside same_rows")
    parser.add_argument("--rounds", default=ROUNDS, help="settings of `feedback` that all arms share")
    parser.add_argument("--start", type=int, default=0, help="first student step with feedback, of every arm")
    words, overrides = parser.parse_known_args()
    if unknown := set(words.arms) - {"kd", *ARMS}:
        parser.error(f"--arms: no arm {', '.join(sorted(unknown))}; there are kd, {', '.join(ARMS)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config, output = words.config, words.output
    table: dict[str, Any] = {}

    def feedback(arm: str) -> str:
        return f"feedback={{{ARMS[arm]}, {words.rounds}, start: {words.start}}}"

    def seeds(arm: str, settings: list[str]) -> list[RunResult]:
        return [run(config, output / f"{arm}-seed{seed}", [*settings, f"seed={seed}"]) for seed in words.seeds]

    def keep(arm: str, entry: dict[str, Any]) -> None:
        table[arm] = entry
        write_table(output, table)

    with runtime.connected(configuration.load(config, overrides)):
        quiz = configuration.load(config, [*overrides, feedback("metadistil")]).rows.quiz
        held_out = [*overrides, f"data.quiz={quiz}"]
        frozen = {"kd": [*overrides, "data.quiz=0"]} if "kd" in words.arms else {}
        for arm, mine in (frozen | {"same_rows": held_out}).items():
            lr = choose(config, output, arm, "train.lr", words.lrs, mine)
            keep(arm, summary(seeds(arm, [*mine, f"train.lr={lr}"]), lr))
        held_out.append(f"train.lr={table['same_rows']['lr']}")
        for arm in (arm for arm in ARMS if arm in words.arms):
            mine = [*held_out, feedback(arm)]
            rate = choose(config, output, arm, "feedback.teacher_lr", words.teacher_lrs, mine)
            results = seeds(arm, [*mine, f"feedback.teacher_lr={rate}"])
            entry = summary(results, table["same_rows"]["lr"]) | {"teacher_lr": rate}
            sent = [result.feedback for result in results if result.feedback is not None]
            entry["teachers"] = [
                {name: teacher.model_dump() for name, teacher in feedback.teachers.items()} for feedback in sent
            ]
            entry["cosine_quiz"] = [feedback.cosine_quiz for feedback in sent]
            keep(arm, entry | {f"against_{other}": against(entry, table[other]) for other in (*frozen, "same_rows")})
    log.info("%s", json.dumps(table, indent=1))


if __name__ == "__main__":
    program(main)
