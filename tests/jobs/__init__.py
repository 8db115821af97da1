"""Jobs as the Python API calls them."""
