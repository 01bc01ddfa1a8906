"""Files that are predicted later: what a job is, the process that does them, and who is told."""
