"""Measurements of the project against other libraries; not part of the installed package."""
