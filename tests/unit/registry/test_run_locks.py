"""One run at a time works in a tree."""

from __future__ import annotations

import os

import pytest

from registry.store.run_locks import InUse, alone_in


def test_the_second_run_in_a_tree_is_refused_and_told_who_is_at_work(tmp_path):
    with alone_in(tmp_path, "`stemma run`"):
        with pytest.raises(InUse, match=rf"`stemma run` \(process {os.getpid()}, since .*is at work.*--isolated"):
            with alone_in(tmp_path, "a run from Prefect's UI"):
                pass
        with alone_in(tmp_path / "another", "a run from Prefect's UI"):
            pass
    with alone_in(tmp_path, "`stemma run`"):
        pass
