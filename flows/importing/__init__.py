"""Models from outside: where they come from, what is taken of them, and how they become safetensors."""
