"""The code blocks of a page of documentation, in the order in which a reader meets them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNNABLE = {"python", "sh", "console", "sql"}
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_OPT_OUT = re.compile(r"<!--\s*not run:\s*(?P<reason>\S.*?)\s*-->")
_FILE = re.compile(r"#\s+(?P<path>[\w./-]+\.(py|toml|ini|cfg))\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, in which language, and why it is not run if it says so."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def file(self) -> str | None:
        """The file that the reader writes it to: the first line is a comment that names it."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match["path"] if match else None

    @property
    def place(self) -> str:
        """Where it stands, as an editor opens it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every page of the documentation, the README first."""
    return [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, whatever their language."""
    fence: re.Match[str] | None = None
    start, before = 0, ""
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None:
            fence = _FENCE.match(line)
            if fence is not None:
                start, inside = number, []
            elif line.strip():
                before = line
        elif line.strip() == fence["fence"]:
            opt_out = _OPT_OUT.fullmatch(before.strip())
            indent = len(fence["indent"])
            text = "".join(line[indent:] + "\n" for line in inside)
            yield Block(page, start, _language(fence["info"]), text, opt_out["reason"] if opt_out else None)
            fence, before = None, ""
        else:
            inside.append(line)
    if fence is not None:
        raise ValueError(f"{page}:{start}: a block that nothing ends")


def _language(info: str) -> str:
    """Read `python` and `{code-block} python` alike."""
    words = info.replace("{code-block}", "").split()
    name = words[0] if words else ""
    return {"bash": "sh", "shell": "sh", "shell-session": "console", "py": "python"}.get(name, name)


def commands(console: str) -> str:
    """Return what is typed in a console block: the lines after a prompt, and those that continue them."""
    typed, continues = [], False
    for line in console.splitlines():
        if line.startswith("$ ") or continues:
            typed.append(line.removeprefix("$ ").removeprefix("> ") if not continues else line.removeprefix("> "))
            continues = line.endswith("\\")
    return "".join(line + "\n" for line in typed)
