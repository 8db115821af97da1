"""Tests of vitcli.core."""
