"""Tests of vitcli.fetch."""
