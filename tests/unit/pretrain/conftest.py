"""Token shards shared by the pretraining tests."""

from __future__ import annotations

import pytest

from tests.unit.pretrain import tiny


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A workspace with corpus, tokenizer and token shards; tests read it and work beside it."""
    return tiny.tokens(tmp_path_factory.mktemp("made"))


@pytest.fixture
def workspace(made, tmp_path):
    """A workspace of the test's own with ``made``'s tokens."""
    return tiny.beside(tmp_path, made)


@pytest.fixture(scope="session")
def finished(made, tmp_path_factory):
    """A workspace in which the tiny pretraining ran to its end without interruption, in a process of its own."""
    folder = tiny.beside(tmp_path_factory.mktemp("finished"), made)
    tiny.finish(tiny.start(folder))
    return folder
