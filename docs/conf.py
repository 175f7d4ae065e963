"""How the documentation is built: `sphinx-build -W docs build/docs`. Why with Sphinx: adr/0013-docs.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from reference import cli_reference, python_reference, sql_reference

from pgjobs import __version__

project = "pgjobs"
copyright = "the authors of pgjobs"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"pgjobs {release}"
smartquotes = False  # quotes in a comment may be those of SQL
html_copy_source = False
nitpicky = False  # autodoc names types of other packages, which have no pages here
default_role = "literal"  # docstrings write `code` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
suppress_warnings = ["misc.highlighting_failure"]  # a prompt or a placeholder in a block is no Python

# Pages of the reference have a line that stands for what is generated.
GENERATED = {
    "reference/python": python_reference,
    "reference/cli": cli_reference,
    "reference/sql": sql_reference,
}


def fill_in(app: object, docname: str, source: list[str]) -> None:
    """Put the generated part where the page has its line for it."""
    make = GENERATED.get(docname)
    if make is not None:
        source[0] = source[0].replace("<!-- generated -->", make())


def setup(app: object) -> None:
    app.connect("source-read", fill_in)  # type: ignore[attr-defined]
