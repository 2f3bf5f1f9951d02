"""Shows: what are rows without labels worth? Few labelled rows, many without, the same student four ways, over draws.

Command:
    python -m raykd.workloads.label_budgets workloads/sst2.yaml runs/budgets --sizes 200,500,2000 --draws 10 \\
        data.group=contained [KEY=VALUE]

Each draw takes other rows and another seed. Of its budget a fifth chooses the checkpoint; the split that the
configuration calls validation is scored once, as the test. The arms of a draw are the student (labelled rows, and the
rest of train, or `--transfer`, without labels) and, with as many steps, `alone`, `labeled` and `pseudo`. The student's
rate is the one that is best for `alone` on a draw that is not reported. Intervals are those of `raykd compare`,
adjusted over all arms and the teacher. Every run is a folder of its own: interrupt it and give the command again,
finished runs are not done again.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from raykd import api, runtime
from raykd import config as configuration

from .draws import TUNING_DRAW, best, drawn, program, run, write_table
from .kd_vs_alone import comparison, listed

log = logging.getLogger(__name__)
BASELINES = ["alone", "labeled", "pseudo"]


def settings(size: int, draw: int, rows: int, transfer: Path | None, test: str) -> list[str]:
    """The overrides of one draw of a budget of labels."""
    unlabeled = "split: rest" if transfer is None else f"source: {transfer.resolve()}"
    return [
        *drawn(draw, size),
        f"data.unlabeled={{{unlabeled}, max_rows: {rows}}}",
        "data.validation_from_train=0.2",
        f"data.test={test}",
        f"baselines=[{', '.join(BASELINES)}]",
    ]


def main() -> None:
    """Tunes, runs the draws, writes table.json."""
    parser = comparison(__doc__, ["1e-3"])
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in listed(text)], default=[200, 500, 2000])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rows", type=int, default=20_000, help="without labels")
    parser.add_argument(
        "--transfer", type=Path, help="folder or file of rows without labels; default: the rest of train"
    )
    words, overrides = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plain = configuration.load(words.config, overrides)
    test, table = plain.data.validation, dict[str, Any]()
    words.output.mkdir(parents=True, exist_ok=True)
    with runtime.connected(plain):
        tuning = [*overrides, *settings(max(words.sizes), TUNING_DRAW, words.rows, words.transfer, test)]
        lr = best(words.config, words.output, "train.lr", "train.lr", words.lrs, tuning, "alone")
        for size in words.sizes:
            folders = [words.output / f"{size}-draw{draw}" for draw in range(words.draws)]
            for draw, folder in enumerate(folders):
                run(
                    words.config,
                    folder,
                    [*overrides, *settings(size, draw, words.rows, words.transfer, test), f"train.lr={lr}"],
                )
            compared = api.compare(folders, reference="student", every_arm=True)
            table[str(size)] = {"lr": lr, **compared.model_dump(mode="json")}
            write_table(words.output, table)
    log.info("%s", json.dumps(table, indent=1))


if __name__ == "__main__":
    program(main)
