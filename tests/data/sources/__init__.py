"""Tests of what reads labelled images, a file for each kind."""
