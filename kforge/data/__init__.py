"""What is stored and what is embedded: tasks, and the store."""
