"""Answers end before their stop text, however they arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploy.gateway.stops import StopFilter

texts = st.text(alphabet="ab ", max_size=30)


@given(st.lists(texts, max_size=12), st.lists(st.text(alphabet="ab ", min_size=1, max_size=4), max_size=3))
def test_pieces_give_what_the_whole_would(pieces, stops):
    made = StopFilter(stops)
    shown = "".join(made.feed(piece) for piece in pieces)
    whole = "".join(pieces)
    places = [whole.find(stop) for stop in stops if stop in whole]
    if places:
        # A stop that is complete earlier ends the answer, even where a longer one began before it.
        first_complete = min(whole.find(stop) + len(stop) for stop in stops if stop in whole)
        assert made.stopped and whole.startswith(shown) and len(shown) <= first_complete
        assert not any(stop in shown for stop in stops)
    else:
        assert not made.stopped and shown + made.flush() == whole


def test_a_stop_over_several_pieces():
    made = StopFilter(["END", "never"])
    assert [made.feed(piece) for piece in ("one E", "N", "D two", " three")] == ["one ", "", "", ""]
    assert made.stopped and made.flush() == ""


def test_what_only_looked_like_a_stop_is_shown():
    made = StopFilter(["END"])
    assert [made.feed("an E"), made.feed("N"), made.feed("T")] == ["an ", "", "ENT"]
    assert made.flush() == ""
