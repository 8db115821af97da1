"""Tests of vitcli.weights."""
