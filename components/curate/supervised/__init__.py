"""Instructions, preferences and labels: rows of every form as conversations."""
