"""Measures pgjobs: how fast, how soon, how steadily, and whether anything is lost."""
