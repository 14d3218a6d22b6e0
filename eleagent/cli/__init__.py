"""The command line; it meets the daemon over its API alone."""

import gc

gc.set_threshold(100_000, 10, 10)  # loading code makes no garbage to look for, and most commands do little else
