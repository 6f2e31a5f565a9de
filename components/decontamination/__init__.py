"""Overlap of training texts with evaluation sets: which training documents hold what a model is measured on."""
