"""A comparison from end to end: plan, run, store, compare."""
