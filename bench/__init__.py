"""Measures pgjobs, its peers and the bare database: how fast, how soon, how steadily, and whether anything is lost."""

import sys
from pathlib import Path

# What the measured programs share is `common` to them, found on the path; some scenarios of our own speak with it as well.
sys.path.append(str(Path(__file__).parent / "programs"))
