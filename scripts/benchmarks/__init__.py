"""Paired benchmarks: one small file per sub-command, `runner.py` holds their table."""
