"""Our models against other libraries and against numbers that they have written."""
