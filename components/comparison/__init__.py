"""Two models on the same test items: who is better, where, and whether it is more than chance."""
