"""One file a command: parse, one job, render."""
