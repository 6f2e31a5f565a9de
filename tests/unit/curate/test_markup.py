"""Pages give their main content by either library; fragments by their tags; what would hang a parser is refused."""

import time

import pytest

from components.curate.files.markup import DEEPEST, text_of

ARTICLE = "The river rose in the night, and the old bridge, which had stood for three centuries, was gone by morning. "
PAGE = f"""<!doctype html><html><head><title>News</title></head><body><nav><a href="/">Home</a>
<a href="/x">About us</a></nav>

<main><article><h1>Flood</h1><p>{ARTICLE * 3}</p><p>{ARTICLE * 2}Nobody was &uuml;bel hurt.</p></article></main>
<footer>Copyright, all rights reserved</footer><script>alert("no")</script></body></html>"""


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_a_page_gives_its_main_content(extractor):
    text = text_of(PAGE, extractor)
    assert text.count(ARTICLE.strip()) == 5 and "übel" in text
    assert not any(word in text for word in ("About us", "Copyright", "alert"))


@pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])
def test_a_fragment_keeps_all_that_is_seen(extractor):
    assert text_of("<nav>no</nav><p>one <b>two</b></p>three", extractor) == "one two\n\nthree"


@pytest.mark.parametrize(
    ("html", "error"),
    [
        ("<html>" + "<div>" * 100_000, "nested deeper"),
        ("<html>" + "<b><i>" * 100_000 + "</i></b>" * 100_000, "nested deeper"),
        ("<html><body " + " ".join(f"a{n}=1" for n in range(100_000)) + ">", "attributes"),
    ],
)
def test_a_page_made_to_take_long_is_refused_at_once(html, error):
    began = time.process_time()
    with pytest.raises(ValueError, match=error):
        text_of(html, "resiliparse")
    assert time.process_time() - began < 2


def test_many_elements_that_are_never_closed_are_no_depth():
    html = "<html><ul>" + "<li><p>word <br>" * (2 * DEEPEST) + "<img src='data:" + "A" * 100_000 + "'>"
    text_of(html, "resiliparse")


@pytest.mark.parametrize("sign", ["<a", "</a", "<!--", "<!-- >", "<![CDATA[ >", "<? ", "<nav></svg>", "<td>", "<p> "])
def test_a_fragment_made_to_take_long_is_read_or_refused_at_once(sign):
    began = time.process_time()
    try:
        text_of(sign * 40_000, "resiliparse")
    except ValueError as error:
        assert "nested deeper" in str(error)
    assert time.process_time() - began < 2
