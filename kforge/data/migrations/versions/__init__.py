"""One file per revision; the newest is the schema this kforge speaks."""
