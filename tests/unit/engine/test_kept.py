"""A folder of files that all runs share is bounded, and nobody loses what he uses."""

import os

from components.engine import kept


def fill(folder, **times) -> dict:
    folder.mkdir(exist_ok=True)
    paths = {name: folder / name for name in times}
    for name, time in times.items():
        paths[name].write_bytes(b"x" * 100)
        os.utime(paths[name], (time, time))
    return paths


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"lock"}


def test_the_oldest_go_beyond_as_much_again_as_the_last_run_used(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "SPARE", 0)
    paths = fill(tmp_path / "c", used1=1, used2=2, old1=10, old2=20, old3=30)
    kept.trim(tmp_path / "c", [paths["used1"], paths["used2"]])
    assert names(tmp_path / "c") == {"used1", "used2", "old2", "old3"}
    monkeypatch.setattr(kept, "SPARE", 1 << 30)
    kept.trim(tmp_path / "c", [])
    assert len(names(tmp_path / "c")) == 4


def test_nothing_goes_while_another_run_uses_the_folder_and_half_written_files_go_after(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "SPARE", 0)
    folder = tmp_path / "c"
    fill(folder, old=1)
    (folder / ".new.parquet.x.partial").write_bytes(b"half")
    with kept.using(folder):
        kept.trim(folder, [])
        assert len(names(folder)) == 2
    kept.trim(folder, [])
    assert names(folder) == set()
