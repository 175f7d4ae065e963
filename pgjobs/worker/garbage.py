"""The garbage collector of a process that is ours: it looks less often, and not at what was there before.

Python looks for cycles whenever 700 objects more have been made than freed. A worker holds hundreds of jobs, each of a dozen
objects that live for milliseconds: so it would look many times a batch, through all that lives, and find nothing: a third of
a worker's time, measured. Memory is freed as ever by counting; only cycles wait longer.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

NEW_OBJECTS = 50_000  # between two looks; a few megabytes of cycles at the most


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect seldom inside; as before after it. An application that has said otherwise, or switched it off, is obeyed."""
    before = gc.get_threshold()
    if not gc.isenabled() or before[0] == 0 or before[0] > NEW_OBJECTS:
        yield
        return
    gc.freeze()  # the modules and the application are here to stay
    gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
