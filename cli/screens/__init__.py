"""What verbs show on a terminal. Imported when a verb runs: they import rich, which `--help` does not need."""
