"""Personal data and secrets, replaced by placeholders.

Patterns find candidates, checks decide: Luhn and the issuers' ranges for payment cards, ISO 7064 mod 97 and the
registry's lengths for IBANs, libphonenumber for phone numbers, ``ipaddress`` for addresses (private, loopback and
documentation ranges identify no person and stay). Rules miss what has no fixed form (names, postal addresses): the
report counts what was found, not what was there.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from components.curate.privacy import phone_numbers
from components.curate.privacy.placeholders import Placeholder, typed

# First digits of payment cards and how many there are: ISO/IEC 7812, the networks' published ranges.
_ISSUERS = (
    ("4", "4", (13, 16, 19)),  # Visa
    ("51", "55", (16,)), ("2221", "2720", (16,)),  # Mastercard
    ("34", "34", (15,)), ("37", "37", (15,)),  # American Express
    ("300", "305", (14, 16)), ("36", "36", (14, 16)), ("38", "39", (14, 16)),  # Diners Club
    ("3528", "3589", range(16, 20)),  # JCB
    ("6011", "6011", range(16, 20)), ("644", "659", range(16, 20)),  # Discover, RuPay, Troy
    ("62", "62", range(16, 20)),  # UnionPay
    ("2200", "2204", range(16, 20)),  # Mir
    ("5018", "5020", range(16, 20)), ("5038", "5038", range(16, 20)), ("5893", "5893", range(16, 20)),
    ("6304", "6304", range(16, 20)), ("6759", "6763", range(16, 20)),  # Maestro, Dankort
    ("508", "508", (16,)), ("6069", "6099", (16,)),  # RuPay
)  # fmt: skip
# Length of an IBAN by country: SWIFT IBAN registry.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip

_EMAIL = re.compile(r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@])")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|:){2,7}(?:[0-9A-Fa-f]{1,4}|:)(?![\w:])")
_CARD = re.compile(r"(?<![\w.+-])[2-6](?:[ -]?\d){12,18}(?![\w]|[.-]\d)")
_IBAN = re.compile(r"(?<!\w)([A-Z]{2})\d{2}(?: ?[A-Z0-9]){11,30}")
_KEYS = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]*?-----END (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[A-Z0-9]{16}"  # Amazon
    r"|gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_\w{22,255}"  # GitHub
    r"|glpat-[\w-]{20,}"  # GitLab
    r"|xox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|sk-[A-Za-z0-9_-]{20,}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"  # OpenAI, Anthropic, Stripe
    r"|hf_[A-Za-z0-9]{30,}"  # Hugging Face
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,}"  # Google
    r"|pypi-[\w-]{50,}|npm_[A-Za-z0-9]{36}"  # package registries
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{10,}"  # JSON web token
    r")(?![A-Za-z0-9])"
)
KEY_BEGINNINGS = (
    "----BEGIN ", "AKIA", "ASIA", *(f"gh{kind}_" for kind in "pousr"), "github_pat_", "glpat-",
    *(f"xox{kind}-" for kind in "abprs"), "sk-", *(f"{a}k_{b}_" for a in "rs" for b in ("live", "test")), "hf_", "AIza",
    "ya29.", "pypi-", "npm_", "eyJ",
)  # fmt: skip
"""What every match of the pattern above begins with, after a sign that is no letter or digit of ASCII."""
_ASSIGNED = re.compile(
    r"(?i)\b(?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|auth[_-]?token|access[_-]?token|bearer|password|passwd)"
    r"\b[\"']?\s*(?:[:=]|\s)\s*[\"']?([A-Za-z0-9+/_=-]{20,})"
)


def luhn(digits: str) -> bool:
    """True if the digits end in their Luhn check digit (ISO/IEC 7812-1)."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + index % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def valid_iban(iban: str) -> bool:
    """True if an IBAN without blanks has its country's length and leaves 1 modulo 97 (ISO 13616, ISO 7064)."""
    if _IBAN_LENGTHS.get(iban[:2]) != len(iban) or not iban.isascii() or not iban.isalnum():
        return False
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def _is_card(candidate: str) -> bool:
    groups = re.findall(r"\d+", candidate)
    digits = "".join(groups)
    # One number in ten passes Luhn: of 55 found in 120 MB of documentation and code none was a card before the
    # issuers' ranges were asked for. Digits stand together or in groups (4-4-4-4, 4-6-5), never in pairs.
    return (len(groups) == 1 or min(map(len, groups)) >= 3) and _has_issuer(digits) and luhn(digits)


def _has_issuer(digits: str) -> bool:
    """True if a card network has numbers that begin so and are so long."""
    return any(
        int(low) <= int(digits[: len(low)]) <= int(high) and len(digits) in sizes for low, high, sizes in _ISSUERS
    )


def _is_ip(candidate: str) -> bool:
    # Fewer digits are a version or a section number (8.2.4.44) far more often than one of the few such addresses.
    if ":" not in candidate and sum(map(str.isdigit, candidate)) < 7:
        return False
    try:
        return ipaddress.ip_address(candidate).is_global
    except ValueError:
        return False


def _is_secret(candidate: str) -> bool:
    """A generic secret mixes cases or letters with digits; a word or an identifier does not look random."""
    digits = sum(map(str.isdigit, candidate))
    letters = sum(map(str.isalpha, candidate))
    return digits >= 3 and letters >= 3 and len(set(candidate)) >= 10


def _replaced(text: str, spans: Iterable[tuple[int, int]], name: str, placeholder: Placeholder) -> tuple[str, int]:
    """``text`` with a placeholder for each span, in order, and how many there are."""
    found, position, parts = 0, 0, []
    for start, end in spans:
        parts += [text[position:start], placeholder(name, text[start:end])]
        position, found = end, found + 1
    return ("".join(parts) + text[position:] if parts else text), found


def _spans(
    pattern: re.Pattern[str], text: str, check: Callable[[str], bool] | None = None, group: int = 0
) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(text):
        if check is None or check(match[group]):
            yield match.span(group)


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    position = 0
    for match in _IBAN.finditer(text):
        if match.start() >= position and (size := _iban_end(match.group())):
            position = match.start() + size
            yield match.start(), position


def _iban_end(candidate: str) -> int:
    """Characters of ``candidate`` that make up the IBAN it starts with (following words may be in capitals), or 0."""
    length, compact = _IBAN_LENGTHS.get(candidate[:2], 0), ""
    for end, character in enumerate(candidate, 1):
        compact += "" if character == " " else character
        if length and len(compact) == length:
            follows = candidate[end : end + 1]
            return end if valid_iban(compact) and not follows.isalnum() else 0
    return 0


def redact(text: str, types: Iterable[str], placeholder: Placeholder = typed) -> tuple[str, Counter[str]]:
    """``text`` with each finding replaced by its placeholder, and how many were replaced by type.

    Keys go first and phones last, so that the looser pattern never bites a piece out of the stricter one's finding.
    """
    wanted = set(types)
    counts: Counter[str] = Counter()

    def replace(name: str, find: Callable[[str], Iterator[tuple[int, int]]]) -> None:
        nonlocal text
        if name in wanted:
            text, found = _replaced(text, find(text), name, placeholder)
            counts[name] += found

    replace("key", lambda text: _spans(_KEYS, text))
    replace("key", lambda text: _spans(_ASSIGNED, text, _is_secret, 1))
    if "@" in text:
        replace("email", lambda text: _spans(_EMAIL, text))
    if not any(map(str.isdigit, text)) and ":" not in text:
        return text, +counts
    replace("iban", _ibans)
    replace("card", lambda text: _spans(_CARD, text, _is_card))
    replace("ip", lambda text: _spans(_IPV4, text, _is_ip))
    replace("ip", lambda text: _spans(_IPV6, text, _is_ip))
    replace("phone", phone_numbers.find)
    return text, +counts
