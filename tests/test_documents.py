"""The repository's documents: links resolve, configurations parse, and nothing cites what the repository lacks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from raykd import config as configuration

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "cluster").glob("*.md")])
SOURCES = sorted(
    path
    for folder in ("raykd", "tests", "workloads", "docs", "cluster", ".github")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md", ".yaml", ".yml", ".j2", ".toml", ".sh") and path != Path(__file__)
)
# Documents that were beside the repository once, by the section or as a file.
FOREIGN = re.compile(r"\b(DESIGN|METHODS|RAY|STYLE|NAMES)(\.md\b|,? (sections?|§)|§)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CITED = re.compile(r"\bdocs/(\w+)\.md(?:, (?:section )?\"([^\"]+)\")?")
WORKLOADS = sorted((ROOT / "workloads").glob("*.yaml"))


def name(path: Path) -> str:
    """A page's path in the repository."""
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_code(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def whole_configurations(page: Path) -> list[dict[str, Any]]:
    """The YAML blocks of a page that are whole configurations."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    loaded = [yaml.safe_load(block) for block in blocks]
    return [block for block in loaded if isinstance(block, dict) and {"teachers", "student"} <= set(block)]


def test_the_readme_is_short_and_has_a_whole_configuration() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 150
    assert whole_configurations(readme)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_exists(page: Path) -> None:
    for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, fragment = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{link}: no such file"
        if fragment:
            assert fragment in anchors(there), f"{link}: no such heading"


def test_nothing_cites_documents_that_are_not_here() -> None:
    cited = [
        f"{name(path)}: {match[0]}" for path in SOURCES for match in FOREIGN.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not cited


def test_pages_and_sections_that_the_sources_cite_exist() -> None:
    missing = []
    for path in (path for path in SOURCES if path.suffix == ".py"):
        # A citation may go over the end of a line.
        text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
        for page, section in CITED.findall(text):
            there = ROOT / "docs" / f"{page}.md"
            headings = (
                re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE) if there.exists() else []
            )
            if not headings or (section and section not in headings):
                missing.append(f"{name(path)}: docs/{page}.md, {section or 'the page'}")
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_whole_configurations_of_the_pages_parse(page: Path) -> None:
    for block in whole_configurations(page):
        configuration.parse(block, where=name(page))


@pytest.mark.parametrize("path", WORKLOADS, ids=name)
def test_workloads_parse(path: Path) -> None:
    assert configuration.load(path).teachers


def test_the_files_for_other_programs_are_whole() -> None:
    """CI and pre-commit run make targets that the Makefile has; the citation has the package's version and licence."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    called = [command.split()[1] for command in [*steps, *(hook["entry"] for hook in hooks)]]
    assert {"lint", "test", "test-all"} <= set(called) <= targets
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["cff-version"] == "1.2.0"
    assert f'version = "{citation["version"]}"' in project
    assert f'license = "{citation["license"]}"' in project
