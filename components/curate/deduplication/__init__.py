"""Exact and near duplicates among all documents, decided on disk: memory does not grow with their number.

:mod:`~components.curate.deduplication.signatures` is part of judging a document; the other modules decide, over the
files of judged documents, which of them stay.
"""
