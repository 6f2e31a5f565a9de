"""The shipped stages that learn what people prefer, two steps each, in place of those of the model that counts."""

from __future__ import annotations

import json
import shutil

from ruamel.yaml import YAML

from tests.workspace import REPOSITORY, Workspace

STAGES = ("curate", "reward_model", "preference_tune")
FEEDBACK = "data/raw/feedback"


def learn_from_people(workspace: Workspace) -> None:
    """Tune ``models/instruct``, here the pretrained model, on what ``stemma feedback export`` writes; votes decide."""
    yaml, root = YAML(), workspace.root
    shipped = yaml.load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    yaml.dump({"stages": {name: shipped[name] for name in STAGES}}, root / "dvc.yaml")
    values = yaml.load((root / "params.yaml").read_text())
    values["curate"]["decontamination"]["action"] = "none"
    values["curate"]["instructions"].update(
        source="files", shares={"reward": 0.0, "preference": 0.0, "development": 0.2, "test": 0.2}
    )
    values["curate"]["instructions"]["files"].update(
        instruct=["data/raw/chats.jsonl", f"{FEEDBACK}/demonstrations.jsonl"],
        reward=[f"{FEEDBACK}/pairs.jsonl"],
        preference=[f"{FEEDBACK}/pairs.jsonl"],
    )
    for stage in STAGES[1:]:
        values[stage].update(steps=2, per_device_batch_size=4, held_out_share=0.4)
        values[stage]["sampling"].update(max_new_tokens=8, samples=2)
    values["retrain"].update(model="assistant", start="scratch")
    values["promotion"] = {"approval": "none", "assistant": {"human_win_rate": {}}}
    yaml.dump(values, root / "params.yaml")
    rows = ({"prompt": f"How far is {number}?", "completion": f"It is {number} steps."} for number in range(30))
    (root / "data" / "raw" / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(root / "models" / "base", root / "models" / "instruct")
    workspace.dvc("add", "-q", "models/base", "models/instruct")
    workspace.commit("learn from people")
