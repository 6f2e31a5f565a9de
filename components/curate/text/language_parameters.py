"""Which languages stay: codes as fastText's lid.176 names them (ISO 639-1, else 639-3)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from components.contract import StageParameters

UNDETERMINED = "und"  # ISO 639-2
LANGUAGES = frozenset(
    "af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv "
    "cy da de diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht "
    "hu hy ia id ie ilo io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg "
    "mhr min mk ml mn mr mrj ms mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb "
    "ps pt qu rm ro ru rue sa sah sc scn sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug "
    "uk ur uz vec vep vi vls vo wa war wuu xal xmf yi yo yue zh".split()
)


class LanguageParameters(StageParameters):
    """Identification of each document's language, by fastText (Joulin et al. 2017, arXiv:1607.01759)."""

    keep: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Languages that stay (en, de, zh ...; und: those that cannot be determined). null: all stay, and "
        "are named in the column `language`.",
    )
    threshold: float = Field(
        0.65,
        ge=0,
        le=1,
        description="Least probability of a language; below it the language is undetermined. FineWeb 0.65, CCNet 0.5.",
    )
    thresholds: dict[str, float] = Field({}, description="The same for single languages, such as {de: 0.5}.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        named = {"keep": [code for code in self.keep or () if code != UNDETERMINED], "thresholds": self.thresholds}
        for name, codes in named.items():
            if unknown := [code for code in codes if code not in LANGUAGES]:
                known = ", ".join(sorted(LANGUAGES))
                raise ValueError(f"{name}: {', '.join(unknown)}: not among the languages that are recognized: {known}")
        if wrong := [code for code, least in self.thresholds.items() if not 0 <= least <= 1]:
            raise ValueError(f"thresholds: {', '.join(wrong)}: a probability is from 0 to 1")
        return self
