"""Puts the report of a result into bench/README.md, between two marks, and its plots beside it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

HERE = Path(__file__).parent
BEGIN, END = "<!-- the last full run -->", "<!-- its end -->"


def into_readme(folder: Path, readme: Path = HERE / "README.md") -> None:
    """Take report.md of a folder: headings go two levels down, plots are copied to results/."""
    text = (folder / "report.md").read_text()
    plots = readme.parent / "results"
    plots.mkdir(exist_ok=True)
    for old in plots.glob("*.png"):
        old.unlink()
    for plot in sorted(folder.glob("*.png")):
        shutil.copyfile(plot, plots / plot.name)
    shutil.copyfile(folder / "result.json", plots / "result.json")
    text = re.sub(r"^# .*\n+", "", text)
    text = re.sub(r"^#", "##", text, flags=re.MULTILINE)
    text = re.sub(r"\]\((\w+\.png)\)", r"](results/\1)", text)
    head, begin, rest = readme.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} has no place for a run: the marks {BEGIN} and {END} are missing.")
    readme.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}")
