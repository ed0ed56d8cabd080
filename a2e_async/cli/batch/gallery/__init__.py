"""``a2e batch report``: a gallery of a batch as a page, and its contact sheet."""
