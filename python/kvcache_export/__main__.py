"""python -m kvcache_export: as export_kvcache.py."""

import sys

from .cli import ANY, main

sys.exit(main(command=ANY))
