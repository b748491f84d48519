"""The command-line programs: thin scripts at the top of the repository call these."""
