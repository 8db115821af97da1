"""Tests of `vitcli.hub`."""
