"""A Python session that runs a page's blocks one after another in one namespace, as a reader's interpreter would.

One line of JSON in, the block; one line of JSON out, its traceback or null. What blocks print goes to standard error.
A block may await at its top level. A name that no block has defined yet is imported from the page's files if one of
them defines it, so that a page can write `shop.py` and then go on as if the reader had imported it.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    page = ModuleType("__page__")
    sys.modules["__page__"] = page
    with asyncio.Runner() as loop:
        for line in sys.stdin:
            given = json.loads(line)
            try:
                _run(given["code"], given["name"], vars(page), loop)
                error = None
            except BaseException:
                error = traceback.format_exc()
            sys.stdout.flush()
            answers.write(json.dumps(error) + "\n")
            answers.flush()


def _run(text: str, name: str, namespace: dict[str, Any], loop: asyncio.Runner) -> None:
    code = compile(text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for wanted in sorted(_names(code) - namespace.keys() - set(dir(builtins))):
        for file in sorted(Path().rglob("*.py")):
            if wanted in _defined(file):
                module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
                exec(f"from {module} import {wanted}", namespace)
                break
    if code.co_flags & inspect.CO_COROUTINE:
        loop.run(eval(code, namespace))
    else:
        exec(code, namespace)


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _defined(file: Path) -> set[str]:
    """Return the names that a file defines at its top level."""
    names = set()
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


if __name__ == "__main__":
    main()
