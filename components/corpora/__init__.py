"""Looking at corpora: what is in one, samples and phrases of it, and what differs between two.

Nothing here is part of a stage: everything reads the shards as they lie, in batches, with memory that does not grow
with the number of documents.
"""
