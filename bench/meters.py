"""CPU and memory of processes, as the kernel counts them (/proc: on Linux only)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TICK = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Stat(NamedTuple):
    """What we read of a process."""

    pid: int
    parent: int
    session: int
    cpu: float  # seconds, its own
    reaped: float  # seconds, of its children that have ended


def stat(pid: int) -> Stat | None:
    """Read one process; None if it is gone."""
    with suppress(OSError):
        # The name, in brackets, may have anything in it.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        own, reaped = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        return Stat(pid, int(fields[1]), int(fields[3]), own / TICK, reaped / TICK)
    return None


def processes() -> Iterator[Stat]:
    """All processes."""
    for entry in os.listdir(PROC):
        if entry.isdigit() and (found := stat(int(entry))):
            yield found


def session(leader: int) -> list[int]:
    """The processes of this session."""
    return [each.pid for each in processes() if each.session == leader]


def cpu_of_session(leader: int) -> float:
    """Seconds of CPU that a program has used, with all that it started, ended or not."""
    return sum(each.cpu + each.reaped for each in processes() if each.session == leader)


def cpu_of_server(pid: int) -> float:
    """Seconds of CPU of a server and its children; the server has waited for those that have ended."""
    return sum(
        each.cpu + each.reaped if each.pid == pid else each.cpu
        for each in processes()
        if each.pid == pid or each.parent == pid
    )


def peak_of_session(leader: int) -> int:
    """Bytes resident at most, added up over the program's processes; pages that they share count in each."""
    return sum(status(pid, "VmHWM") for pid in session(leader))


def resident_of_session(leader: int) -> int:
    """Bytes resident now, added up over the program's processes."""
    return sum(status(pid, "VmRSS") for pid in session(leader))


def status(pid: int, name: str) -> int:
    """One line of /proc/PID/status that is in kB, in bytes; 0 if the process is gone."""
    with suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
