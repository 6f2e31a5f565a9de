"""The reference of a policy with an adapter: the policy itself while the adapter is switched off."""

from __future__ import annotations

from typing import Any


class WithoutCopy:
    """A mixin of TRL's trainers that drops the copy of a fresh adapter which TRL would keep as the reference.

    A fresh adapter changes nothing, so the base alone is the same reference; TRL takes it where there is no copy.
    """

    model: Any

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")
