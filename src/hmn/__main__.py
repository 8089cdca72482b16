"""`python -m hmn`, the same as `hmn`."""

import sys

from hmn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
