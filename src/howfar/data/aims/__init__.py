"""From rows of any source to a corpus, one file an aim or family of aims."""
