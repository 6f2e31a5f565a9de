"""Texts judged by a classifier that the user has trained on examples: quality, toxicity, topics."""
