"""What is done to every text, and what language it is in."""
