"""Tests of vitcli.data."""
