"""Which texts cleaning or redaction may change, found in one compiled pass; the others need no pattern at all.

A text that is not marked here stays as it is under :func:`components.curate.text.cleaning.clean` or
:func:`components.curate.privacy.redaction.redact`; one that is marked need not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from components.curate.privacy.redaction import KEY_BEGINNINGS
from components.curate.text.cleaning import ALTERED
from components.curate.text.code_points import Array, compiled, every, laid_out, stands, those

EMAIL, PHONE, IP, CARD, IBAN, KEY = (1 << bit for bit in range(6))
BITS = {"email": EMAIL, "phone": PHONE, "ip": IP, "card": CARD, "iban": IBAN, "key": KEY}

_DIGIT, _WORD, _HEX, _ALNUM, _ALTERED, _WIDE, _BEGINS_KEY, _OF_SECRET = (1 << bit for bit in range(8))

_NAMES = laid_out(["key", "secret", "token", "bearer", "password", "passwd"])
"""The last words of what a secret is assigned to (the pattern of redaction's ``_ASSIGNED``); they end in two letters of
``[erw][yntrd]``."""


@cache
def _classes() -> Array:
    """Bits of each code point, as the patterns of ``re`` have them: ``\\d``, ``\\w``, ``[0-9A-Fa-f]``,
    ``[A-Za-z0-9]``, signs that cleaning replaces wherever they are, signs beyond ASCII, first signs of a key, signs of
    a secret."""
    table: Array = those(str.isdecimal, _DIGIT) | those(str.isalnum, _WORD)
    table[ord("_")] |= _WORD
    table[128:] |= _WIDE
    for sign in "0123456789abcdefABCDEF":
        table[ord(sign)] |= _HEX
    for code in range(128):
        if chr(code).isalnum():
            table[code] |= _ALNUM
    # With the four signs that ``re`` takes for ASCII letters where case does not matter.
    for sign in "+/_=-ſKİı":
        table[ord(sign)] |= _OF_SECRET
    table[:128] |= np.where(table[:128] & _ALNUM, np.uint8(_OF_SECRET), np.uint8(0))
    for beginning in KEY_BEGINNINGS:
        table[ord(beginning[0])] |= _BEGINS_KEY
    for sign in ALTERED.findall(every()):
        table[ord(sign)] |= _ALTERED
    return table


_KEYS = laid_out(sorted(KEY_BEGINNINGS))


@compiled
def _unclean(codes: Array, starts: Array, classes: Array) -> tuple[Array, Array]:
    """Of each text: whether white space or invisible signs change, and whether it has signs beyond ASCII."""
    changes = np.zeros(len(starts) - 1, np.bool_)
    wide = np.zeros(len(starts) - 1, np.bool_)
    for text in range(len(starts) - 1):
        start, end = starts[text], starts[text + 1]
        if start == end:
            continue
        last = codes[end - 1]
        change = codes[start] == 10 or last == 10 or last == 32
        kinds = 0
        empty = 0
        for place in range(start, end):
            code = codes[place]
            kinds |= classes[code]
            if code == 10:
                empty += 1
                change |= empty > 2 or (place > start and codes[place - 1] == 32)
            else:
                empty = 0
        changes[text] = change or (kinds & _ALTERED) != 0
        wide[text] = (kinds & _WIDE) != 0
    return changes, wide


@compiled
def _is_email_sign(code: Any, kind: Any) -> bool:
    return (kind & _WORD) != 0 or code == 46 or code == 43 or code == 37 or code == 45  # . + % -


@compiled
def _begins_key(codes: Array, place: int, end: int, keys: Array, key_starts: Array) -> bool:
    for key in range(len(key_starts) - 1):
        first, size = key_starts[key], key_starts[key + 1] - key_starts[key]
        if place + size <= end and stands(codes, place, keys[first : first + size], False):
            return True
    return False


@compiled
def _ends_name(codes: Array, start: int, place: int, names: Array, name_starts: Array) -> bool:
    """True if one of ``names`` ends at ``place``, in any case as ``re`` has it."""
    for name in range(len(name_starts) - 1):
        at = place
        for sign in range(name_starts[name + 1] - 1, name_starts[name] - 1, -1):
            if at < start:
                break
            code = codes[at]
            if 65 <= code <= 90:
                code += np.uint32(32)
            elif code == 0x17F:  # long s
                code = np.uint32(115)
            elif code == 0x212A:  # the sign of kelvin
                code = np.uint32(107)
            if code != names[sign]:
                break
            if sign == name_starts[name]:
                return True
            at -= 1
    return False


@compiled
def _suspect(
    codes: Array, starts: Array, classes: Array, keys: Array, key_starts: Array, names: Array, name_starts: Array
) -> Array:
    """Bits of the types that a text may hold."""
    found = np.zeros(len(starts) - 1, np.int64)
    for text in range(len(starts) - 1):
        start, end = starts[text], starts[text + 1]
        bits = 0
        named = False  # there was a name that a secret is assigned to, then marks and blanks, then perhaps this run:
        run = run_digits = 0  # signs that a secret is made of
        only_equals = False  # since the last such name; = stands between a name and its secret, too
        digits = 0  # of a number whose digits stand alone or after one blank or dash
        dotted = dots = 0  # digits and dots of a run of both
        national = 0  # digits from a leading zero on, with little between them
        colons = 0  # of a run of hexadecimal digits and colons that may begin an address
        may_begin = False
        before, kind_before = np.uint32(32), np.uint8(0)
        for place in range(start, end):
            code = codes[place]
            kind = classes[code]
            if kind & _BEGINS_KEY and not kind_before & _ALNUM and not bits & KEY:
                if _begins_key(codes, place, end, keys, key_starts):
                    bits |= KEY
            if named and kind & _OF_SECRET:
                only_equals = only_equals and code == 61
                run += 1
                run_digits += (kind & _DIGIT) != 0
                if run >= 20 and run_digits >= 3:
                    bits |= KEY
            elif named:
                named = only_equals and not kind & _WORD
                run = run_digits = 0
            last, last_but_one = code | 32, before | 32
            if (
                (last == 121 or last == 116 or last == 110 or last == 114 or last == 100)  # y t n r d
                and (last_but_one == 101 or last_but_one == 114 or last_but_one == 119)  # e r w
                and _ends_name(codes, start, place, names, name_starts)
            ):
                named = only_equals = True
            if kind & _DIGIT:
                digits += 1
                dotted += 1
                if national > 0:
                    national += 1
                elif before == 48 and (place - start == 1 or not classes[codes[place - 2]] & _DIGIT):
                    national = 2
                if national >= 9:
                    bits |= PHONE
                if digits >= 13:
                    bits |= CARD
                if (
                    place - start >= 3
                    and kind_before & _DIGIT
                    and 65 <= codes[place - 2] <= 90
                    and 65 <= codes[place - 3] <= 90
                    and (place - start == 3 or not classes[codes[place - 4]] & _WORD)
                ):
                    bits |= IBAN
                if dots >= 3 and dotted >= 7:
                    bits |= IP
                if (
                    place - start >= 7
                    and kind_before & _DIGIT
                    and classes[codes[place - 2]] & _DIGIT
                    and classes[codes[place - 3]] & _DIGIT
                    and (codes[place - 4] == 46 or codes[place - 4] == 45 or codes[place - 4] == 32)
                    and classes[codes[place - 5]] & _DIGIT
                    and classes[codes[place - 6]] & _DIGIT
                    and 50 <= codes[place - 7] <= 57
                    and place - start >= 8
                    and (codes[place - 8] == 41 or codes[place - 8] == 32 or 45 <= codes[place - 8] <= 46)
                ):
                    bits |= PHONE
            else:
                if not ((code == 32 or code == 45) and kind_before & _DIGIT):
                    digits = 0
                # A blank, which may be one that does not break, and . / ( ) - stand between digits.
                if not (code == 32 or code == 160 or 45 <= code <= 47 or code == 40 or code == 41):
                    national = 0
                if code == 46:
                    dots += 1
                else:
                    dotted = dots = 0
            if kind & _HEX or code == 58:
                if not (kind_before & _HEX or before == 58):
                    colons = 0
                    may_begin = not (kind_before & _WORD or before == 46)
                colons += code == 58
                if colons >= 2 and may_begin:
                    bits |= IP
            if code == 64 and _is_email_sign(before, kind_before) and place > start and place + 1 < end:
                after = codes[place + 1]
                if classes[after] & _ALNUM or after == 45:
                    bits |= EMAIL
            if code == 43 and place + 1 < end and classes[codes[place + 1]] & _DIGIT:
                count = 0
                for next_ in range(place + 1, min(end, place + 41)):
                    count += (classes[codes[next_]] & _DIGIT) != 0
                if count >= 8:
                    bits |= PHONE
            before, kind_before = code, kind
        found[text] = bits
    return found


def may_change(texts: Sequence[str]) -> Array:
    """Of each text, whether cleaning may change it.

    Returns:
        0: stays; 1: stays if it has the wanted Unicode form; 2: may change.
    """
    codes, starts = laid_out(texts)
    changes, wide = _unclean(codes, starts, _classes())
    return np.where(changes, 2, wide)


def may_hold(texts: Sequence[str]) -> Array:
    """Bits (:data:`BITS`) of the types that redaction may find in each text."""
    codes, starts = laid_out(texts)
    return _suspect(codes, starts, _classes(), *_KEYS, *_NAMES)
