"""The command ``tatami``. One file for each command; `tatami.cli.main` is the entry point."""
