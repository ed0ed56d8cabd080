"""``python -m a2e_async`` is the `a2e` command."""

from __future__ import annotations

import sys

from a2e_async.cli import main

if __name__ == "__main__":
    sys.exit(main())
