"""Personal data is found by form and check digit, and what only looks like it stays."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.curate.privacy.placeholders import TYPED, Hashed
from components.curate.privacy.redaction import luhn, redact, valid_iban
from tests.unit.curate.personal_data import measure


def check_digit(digits: str) -> str:
    """The textbook's Luhn digit: double every second digit from the right, add up digit sums, complete to ten."""
    doubled = [int(d) * 2 if index % 2 == 0 else int(d) for index, d in enumerate(reversed(digits))]
    return str(-sum(sum(map(int, str(value))) for value in doubled) % 10)


def check_digits(country: str, account: str) -> str:
    """ISO 13616: 98 minus the remainder of the rearranged number with 00 in place of the check digits."""
    number = "".join(str(ord(c) - 55) if c.isalpha() else c for c in account + country + "00")
    return f"{98 - int(number) % 97:02d}"


digits = st.text("0123456789", min_size=12, max_size=18)


@given(digits)
def test_a_number_with_its_luhn_digit_is_valid(number):
    assert luhn(number + check_digit(number))


@given(digits, st.data())
def test_luhn_sees_every_single_wrong_digit(number, data):
    whole = number + check_digit(number)
    place = data.draw(st.integers(0, len(whole) - 1))
    wrong = data.draw(st.sampled_from([d for d in "0123456789" if d != whole[place]]))
    assert not luhn(whole[:place] + wrong + whole[place + 1 :])


@given(st.text("0123456789", min_size=18, max_size=18))
def test_an_iban_with_its_check_digits_is_valid_and_redacted_with_or_without_blanks(account):
    iban = "DE" + check_digits("DE", account) + account
    assert valid_iban(iban)
    grouped = " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))
    for shown in (iban, grouped):
        text, counts = redact(f"Pay to {shown} TODAY", ["iban"])
        assert text == "Pay to [IBAN] TODAY"
        assert counts == {"iban": 1}


@given(st.text("0123456789", min_size=18, max_size=18), st.integers(4, 21), st.integers(1, 9))
def test_an_iban_with_one_wrong_digit_is_not_valid(account, place, shift):
    iban = "DE" + check_digits("DE", account) + account
    wrong = str((int(iban[place]) + shift) % 10)
    assert not valid_iban(iban[:place] + wrong + iban[place + 1 :])


@given(st.text("0123456789", min_size=11, max_size=11), st.sampled_from(["4000", "5100", "2221", "3528", "6200"]))
def test_cards_are_redacted_and_numbers_that_fail_luhn_stay(middle, first):
    number = first + middle
    card = number + check_digit(number)
    shown = f"{card[:4]} {card[4:8]}-{card[8:12]} {card[12:]}"
    assert redact(f"card {shown}.", ["card"])[0] == "card [CARD]."
    wrong = number + str((int(card[-1]) + 1) % 10)
    assert redact(f"card {wrong}.", ["card"])[0] == f"card {wrong}."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to Jane.Doe+news@mail.example.co.uk, please", "write to [EMAIL], please"),
        ("@decorator and a@b stay", "@decorator and a@b stay"),
        ("server 93.184.216.34 answered", "server [IP] answered"),
        ("localhost is 127.0.0.1, the network 192.168.0.1", "localhost is 127.0.0.1, the network 192.168.0.1"),
        ("see section 8.2.4.44 and version 3.11.7", "see section 8.2.4.44 and version 3.11.7"),
        ("host 2a00:1450:4001:82a::200e up", "host [IP] up"),
        ("at 10:20:30 and std::vector::size", "at 10:20:30 and std::vector::size"),
        ("call +49 30 1234 5678 now", "call [PHONE] now"),
        ("call (212) 555-0187 or 212-555-0187", "call [PHONE] or [PHONE]"),
        ("Decimal('+35236450.6') in 2019-05-17", "Decimal('+35236450.6') in 2019-05-17"),
        ("token ghp_" + "a1B2" * 9 + " leaked", "token [KEY] leaked"),
        ("api_key = 'q8Zt3LmP0vX7rW2yB5nK'", "api_key = '[KEY]'"),
        ("password = get_password_from_the_keyring()", "password = get_password_from_the_keyring()"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[KEY]"),
    ],
)
def test_what_is_redacted_and_what_stays(text, expected):
    assert redact(text, TYPED)[0] == expected


def test_only_the_wanted_types_are_redacted_and_all_are_counted():
    text = "a@example.org b@example.org 93.184.216.34"
    assert redact(text, ["ip"]) == ("a@example.org b@example.org [IP]", {"ip": 1})
    assert redact(text, TYPED)[1] == {"email": 2, "ip": 1}
    assert redact(text, []) == (text, {})


@pytest.mark.parametrize(("name", "recall"), [("phone", 0.97), ("card", 1.0), ("iban", 1.0)])
def test_the_labelled_sample_is_found_and_nothing_else(name, recall):
    found = measure(name)
    assert found.wrong == 0, found.texts
    assert found.recall >= recall, found.texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tel +33 1 99 00 12 34 24 h", "tel [PHONE] 24 h"),  # what follows a blank may be something else
        ("x = +12 345 678 901 234", "x = +12 345 678 901 234"),
        ("phone 020 7946 0018 or 020 7946 0019", "phone [PHONE] or [PHONE]"),
        ("hotel 030 23125678", "hotel 030 23125678"),
    ],
)
def test_a_phone_number_is_valid_as_it_stands_or_behind_a_word(text, expected):
    assert redact(text, ["phone"])[0] == expected


def test_hashed_placeholders_are_equal_for_equal_values_and_differ_by_the_salt():
    one, other = Hashed(b"1" * 32), Hashed(b"2" * 32)
    text = "Jane.Doe@example.org, jane.doe@EXAMPLE.org, ann@example.org, 4111-1111 1111 1111, 4111111111111111."
    shown, counts = redact(text, TYPED, one)
    found = re.findall(r"\[(?:EMAIL|CARD)_[0-9a-f]{4}\]", shown)
    assert len(found) == 5 and counts == {"email": 3, "card": 2}
    assert found[0] == found[1] != found[2] and found[3] == found[4]
    assert not set(found) & set(re.findall(r"\[.*?\]", redact(text, TYPED, other)[0]))
    assert "1111" not in repr(one) and one.mark != other.mark
    assert redact(shown, TYPED, other) == (shown, {})


@given(st.lists(st.sampled_from(["tel ", "020 7946 0018", " or ", ", ", "[PHONE]", "+44 20 7946 0018", "x", "\n"])))
def test_phone_numbers_beside_each_other_are_all_found_at_once(parts):
    once = redact(" ".join(parts), ["phone"])[0]
    assert redact(once, ["phone"]) == (once, {})


@given(st.text())
def test_redaction_is_idempotent(text):
    once = redact(text, TYPED)[0]
    assert redact(once, TYPED) == (once, {})
