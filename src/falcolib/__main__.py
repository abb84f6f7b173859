# SPDX-License-Identifier: Apache-2.0
"""``python -m falcolib`` is the command ``falcolib``."""

from .cli import main

if __name__ == "__main__":
    main()
