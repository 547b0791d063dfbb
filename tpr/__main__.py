"""`python -m tpr` is the `tpr` command."""

import sys

from tpr.cli import main

if __name__ == "__main__":
    sys.exit(main())
