"""Pretrained weights by name: which releases there are, and how each one comes here."""
