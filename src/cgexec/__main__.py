"""``python -m cgexec``: what this container allows, and how many workers that makes."""

import sys

from cgexec._cli import main

sys.exit(main())
