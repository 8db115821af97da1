"""Pictures of runs and data: figures made from plain numbers, and how they become files."""
