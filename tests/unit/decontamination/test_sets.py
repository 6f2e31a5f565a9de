"""The names of the sets that a workspace makes."""

from __future__ import annotations

from components.decontamination.sets import read


def test_a_set_is_named_by_its_output_and_not_by_the_folder_of_an_unfinished_one(tmp_path):
    folder = tmp_path / ".instructions.partial"
    folder.mkdir()
    (folder / "instruct.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert [each.name for each in read("instructions", folder, ("instruct", "reward"))] == ["instructions/instruct"]
