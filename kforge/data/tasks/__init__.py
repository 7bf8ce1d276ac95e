"""Tasks: which exist (``registry``), what they compute (``loader``), and their shapes (``describe``)."""
