"""What a run's report and last screen say of the user's own data."""

from __future__ import annotations

import json

from flows.pipeline.report import example_question


def test_the_example_question_is_one_of_the_data(tmp_path):
    assert example_question(tmp_path) is None
    folder = tmp_path / "data" / "instructions"
    folder.mkdir(parents=True)
    rows = [{"prompt": "x" * 200}, {"prompt": "Where is\nthe station?"}, {"prompt": "Where is the harbour?"}]
    (folder / "instruct.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert example_question(tmp_path) == "Where is the harbour?"
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "When does it open?"}]
    (folder / "test.jsonl").write_text(json.dumps({"prompt": talk}) + "\n")
    assert example_question(tmp_path) == "When does it open?"
