"""From what people say of answers to data to train on, and back: what they want deleted."""
