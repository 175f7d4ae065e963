"""Every code block of the documentation and of the README is run, page by page, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, RUNNABLE, Block, blocks, pages
from tests.docs.running import Page

BEFORE = Path(__file__).parent / "before"  # what a page takes for granted, as Python: before/how-to.failures.py
MOST_NOT_RUN = 12


def run_by_ci(block: Block) -> bool:
    """Whether .ci/run runs this very block: it takes its commands from the README."""
    taken = re.findall(r"readme_command '(.+?)'\)\"$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    return block.page.name == "README.md" and any(command in block.text for command in taken)


def to_run(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.not_run is None and not run_by_ci(block)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT)).removeprefix("docs/")


@pytest.mark.parametrize(
    "page", [page for page in pages() if any(block.language in RUNNABLE for block in to_run(page))], ids=name
)
def test_every_block_of_the_page_runs(page: Path, tmp_path: Path, dsn: str) -> None:
    before = BEFORE / f"{name(page).removesuffix('.md').replace('/', '.')}.py"
    with Page(tmp_path, dsn, before.read_text(encoding="utf-8") if before.exists() else "") as reader:
        shown = to_run(page)
        for block in shown:
            reader.run(block)
        # Tests that a page shows are run, whether or not the page goes on to say so.
        if any((block.file or "").startswith("test_") for block in shown) and not any(
            "pytest" in b.text for b in shown
        ):
            reader.shell("python -m pytest -q", str(page))


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    not_run = [block for page in pages() for block in blocks(page) if block.not_run is not None]
    assert len(not_run) <= MOST_NOT_RUN, "\n".join(f"{block.place}: {block.not_run}" for block in not_run)


def test_every_block_names_its_language() -> None:
    # A block without one would silently not be run.
    assert [block.place for page in pages() for block in blocks(page) if not block.language] == []


def test_whoever_prepares_a_page_has_that_page() -> None:
    assert {path.stem for path in BEFORE.glob("*.py")} <= {
        name(p).removesuffix(".md").replace("/", ".") for p in pages()
    }
