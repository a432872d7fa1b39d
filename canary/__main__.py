"""`python -m canary`."""

import sys

from canary.commands.cli import main

sys.exit(main())
