"""`python -m tpr` and `tpr`: the command, with Ctrl-C answered from the first import on."""

import sys

from tpr import processes


def main() -> int:
    """Run the command line; importing it takes a second of libraries, which Ctrl-C may end at any place."""
    processes.end_at_once_on_interrupt()
    from tpr.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
