"""One composition a command: core, data, weights and a loaded backend. Plain results; this is the Python API."""
