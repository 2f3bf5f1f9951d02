"""What a finished run leaves beside its student: model card, result.json, page."""

from __future__ import annotations

from raykd.config import RunConfig
from raykd.records.run_result import RunResult
from raykd.report import card, page
from raykd.run.folder import RunFolder


def publish(folder: RunFolder, config: RunConfig, result: RunResult) -> None:
    """Writes a finished run's model card, result.json and page."""
    text = card.model_card(result, config.model_dump(mode="json", by_alias=True))
    (folder.path / "student" / "README.md").write_text(text, encoding="utf-8")
    # The result before the page that is drawn from it: a finished run is finished, whatever the page does.
    folder.write_result(result)
    page.render(folder.path)
