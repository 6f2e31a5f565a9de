"""How figures are written for people: four significant digits, whole numbers whole."""

from __future__ import annotations


def figure(value: float) -> str:
    """``0.6951``, ``15,829``, ``2.118``; scientific only where nothing else is short."""
    if 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:,.4g}"
