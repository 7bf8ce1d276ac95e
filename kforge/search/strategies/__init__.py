"""Who chooses parents: one class per strategy, by name in ``registry``."""
