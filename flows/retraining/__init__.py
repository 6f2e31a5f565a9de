"""What `flows/retrain.py` is made of: what is new, where it comes from, what it is measured on, whose turn it is."""
