"""Every test here runs on every engine, against an independent oracle."""
