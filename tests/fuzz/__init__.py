"""The fuzz suite: see docs/fuzz.md."""
