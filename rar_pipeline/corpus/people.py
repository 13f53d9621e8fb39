"""Titles the way IMDb writes them, by IMDbPY's rules. The only module that imports `imdb`.

IMDbPY is GPL-2.0: a program that distributes it with this module is under the GPL's terms, so nothing else may depend on it. Only its title
handling is used (which knows the articles of some thirty languages); its scraper is dead, since IMDb's pages refuse programs. Its
reader of the bulk files, which needs a database, is what a test compares ours with.
"""

from __future__ import annotations


def long_title(title: str) -> str:
    """A title with its article in front: `"Dolce Vita, La"` gives `"La Dolce Vita"`; others are returned as they are."""
    from imdb.utils import normalizeTitle

    return str(normalizeTitle(title)) if ", " in title else title
