"""What a document must pass: rules of quality, classifiers, perplexity."""
