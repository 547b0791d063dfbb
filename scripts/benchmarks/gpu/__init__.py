"""What one GPU does with this project, in sections; `benchmark.py gpu --help`."""
