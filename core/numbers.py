"""How figures are written for people: four significant digits, whole numbers whole."""

from __future__ import annotations


def figure(value: float) -> str:
    """``0.6951``, ``15,829``, ``2.118``; scientific only where nothing else is short."""
    if 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


def measured(value: float, stderr: float | None) -> str:
    """``1.948 ± 0.012``: a value with its standard error, where that is known and not 0."""
    return figure(value) + (f" ± {stderr:.2g}" if stderr else "")


def count(value: float) -> str:
    """``6.74B``, ``1.5T``, ``140B``, ``2.46M``, ``950``: three significant digits, as people name sizes.

    From 1e18 on, which no size has but a prediction may, it is written with an exponent.
    """
    if abs(value) >= 1e18:
        return f"{value:.3g}"
    for factor, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g}{letter}" if abs(value) < 999.5 * factor else f"{value / factor:,.0f}{letter}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes in decimal units: ``75.2 GB``, ``180 MB``."""
    for factor, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 07 s`` or ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
