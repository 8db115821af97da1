"""Where labelled images come from: class folders, tables, arrays, archives, and the layouts of published sets."""

from vitcli.data.sources.listing import SUFFIXES, image_files
from vitcli.data.sources.opening import open_source

__all__ = ["SUFFIXES", "image_files", "open_source"]
