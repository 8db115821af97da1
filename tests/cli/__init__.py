"""Tests of the `vit` command: what it refuses, what it loads, what it prints."""
