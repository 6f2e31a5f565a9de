"""Every text leaves cleaning in one normal form; markup leaves the text a reader sees."""

import json
import unicodedata

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.curate.files.markup import strip_html
from components.curate.text.cleaning import clean
from components.curate.text.mojibake import repaired
from tests.unit.curate.workspace import curate, sentence


@given(st.text(st.characters()), st.sampled_from(["NFC", "NFKC", "none"]))
def test_cleaning_is_idempotent_and_leaves_no_control_character(text, form):
    cleaned = clean(text, form)
    assert clean(cleaned, form) == cleaned
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c != "\n" for c in cleaned)
    assert "\n\n\n" not in cleaned
    cleaned.encode()


def test_cleaning_normalizes_newlines_blanks_and_accents_and_keeps_indentation():
    text = "cafe\u0301\r\n    indented\u00a0text\u200b  \r\n\r\n\r\n\r\nend\x00\n"
    assert clean(text) == "café\n    indented text\n\nend"


def test_cleaning_keeps_joiners_that_scripts_need():
    persian = "می\u200cخواهم"
    assert clean(persian) == persian


PAGE = """<!doctype html><html><head><title>T</title><style>p{color:red}</style></head><body>
<nav><a href="/">Home</a></nav><h1>Caf&eacute; &amp; Bar</h1><p>First   line<br>second <b>bold</b>.</p>
<script>var x = "<p>no</p>";</script><ul><li>one<li>two</ul><pre>a
  b</pre><table><tr><td>1</td><td>2</td></tr></table><p>unclosed <i>end</body></html>"""


def test_html_becomes_its_visible_text():
    text = strip_html(PAGE)
    assert "Café & Bar" in text
    assert "First line\nsecond bold." in text
    assert "- one\n- two" in text.replace("\n\n", "\n")
    assert "a\n  b" in text
    assert "1  2" in text
    assert text.endswith("unclosed end")
    for hidden in ("color:red", "var x", "Home", "<", "no</p>"):
        assert hidden not in text


@given(st.text("<>/!-&;apbrescriptdivli \n\"'="))
def test_any_markup_is_read_without_an_error(html):
    strip_html(html)


@pytest.mark.parametrize("text", ["schön, daß es geht", "Größe “gut”", "Привет, мир", "ÃO É", "plain"])
def test_what_is_no_mojibake_stays(text):
    assert repaired(text) == text


def test_mojibake_is_repaired_where_the_parameters_say_so(tmp_path, monkeypatch):
    path = tmp_path / "data/raw/a.txt"
    path.parent.mkdir(parents=True)
    text = "\n\n".join(f"{sentence(n)} Schön, daß die Größe für {n} stimmt." for n in range(40))
    path.write_text(text.encode().decode("latin-1"))
    source = {"type": "files", "paths": ["data/raw/a.txt"], "keep_files_together": False, "max_file_characters": 300}
    context = curate(tmp_path, [source], monkeypatch, quality={"gopher": None}, repair_mojibake=True)
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    assert report["changes"]["documents with repaired mojibake"] == report["metrics"]["documents_read"] > 10
    kept = pq.read_table(sorted(context.outputs["corpus"].glob("train-*"))[0])["text"].to_pylist()
    assert all("Schön, daß die Größe" in each for each in kept)
