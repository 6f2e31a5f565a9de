"""What `stemma gc` takes of a stage's cache."""

import os
from types import SimpleNamespace

from core import layout
from core.workspace import Workspace
from registry.store import garbage


def test_what_no_kept_run_took_from_a_cache_goes_and_the_lock_stays(tmp_path):
    folder = layout.cache(tmp_path) / "curate"
    folder.mkdir(parents=True)
    for name, time in (("old.parquet", 50), ("new.parquet", 150), ("lock", 10), (".x.partial", 20)):
        (folder / name).write_bytes(b"12345")
        os.utime(folder / name, (time, time))
    found = list(garbage.cache(Workspace(tmp_path, tmp_path), SimpleNamespace(since=100)))
    assert [(os.path.basename(each.what), each.bytes) for each in found] == [(".x.partial", 5), ("old.parquet", 5)]
    for each in found:
        each.remove()
    assert {path.name for path in folder.iterdir()} == {"lock", "new.parquet"}
