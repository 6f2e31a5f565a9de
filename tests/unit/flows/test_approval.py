"""What a person approved is the comparison that the question showed."""

from __future__ import annotations

import pytest

from core.workspace import Workspace
from flows import promote
from registry.promotion.gate import Verdict
from registry.promotion.promote import PromotionOutcome


class Asked(Exception):
    """Prefect ends the flow here; it begins anew when the question of this key has an answer."""


def test_an_approval_over_one_champion_is_none_over_the_next(tmp_path, monkeypatch):
    keys = []

    def ask(*, wait_for_input, key):
        keys.append(key)
        raise Asked

    monkeypatch.setattr(promote, "suspend_flow_run", ask)
    monkeypatch.setattr(promote, "_show", lambda outcome: None)
    for champion in (None, 1, 2, 2):
        verdict = Verdict("base", 3, "d" * 32, "champion", champion)
        outcome = PromotionOutcome("await", "base", 3, "champion", champion, verdict=verdict)
        monkeypatch.setattr(promote, "assess", lambda *_, found=outcome, **__: found)
        with pytest.raises(Asked):
            promote._with_approval(Workspace(tmp_path, tmp_path), "base:3", "champion", "better", print)
    assert len(set(keys)) == 3 and keys[2] == keys[3]
