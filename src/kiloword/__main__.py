"""`python -m kiloword`: the command line."""

import sys

from kiloword.cli import main

if __name__ == "__main__":
    sys.exit(main())
