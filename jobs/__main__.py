"""`python -m jobs <job>` is `pathray <job>`."""

import sys

from jobs.cli import main

sys.exit(main())
