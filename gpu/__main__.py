"""``python -m gpu`` is the same command line as ``linalg-cnn``."""

import sys

from gpu.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
