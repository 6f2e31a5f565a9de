"""The pages of the console, one module each: its routes, and nothing that the registry can answer."""
