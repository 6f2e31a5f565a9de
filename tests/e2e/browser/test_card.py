"""The data card in a browser: its script searches, filters and turns pages, and nothing else runs."""

import json
import os

import pytest
from playwright.sync_api import expect

from components import pages
from components.curate.card import LENGTH_EDGES
from tests.e2e.browser.conftest import SCREENSHOTS

HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


def write_card(root, rules=()):
    """The report of a corpus of 25 documents, one of which attacks the page, below ``root``."""
    split = {
        "documents": 25, "groups": 1, "characters": 100, "question_documents": 0, "bytes": 1, "digest": "d",
        "kinds": {}, "kind_characters": {}, "licenses": {}, "lengths": dict.fromkeys(map(str, LENGTH_EDGES), 2),
    }  # fmt: skip
    clusters = {"count": 1, "largest_documents": 1, "largest_share": 1, "largest_groups": [], "outsized_in_train": 0}
    report = {
        "metrics": {"documents_kept": 25, "documents_read": 25, "share_kept": 1, "characters_kept": 1},
        "python": "3", "corpus_digest": "d", "sources": [], "notes": {}, "splits": {"train": split, "test": split},
        "clusters": clusters, "rules": list(rules), "changes": {}, "broken_rows": [], "instructions": {}, "labels": {},
    }  # fmt: skip
    rows = [
        {"origin": f"file#{n}", "source": "s", "kind": "file", "license": "MIT", "characters": 9, "text": f"Text {n}"}
        for n in range(24)
    ]
    rows.append({**rows[0], "origin": HOSTILE, "text": HOSTILE})
    samples = {
        "splits": {"train": rows[:20], "test": rows[20:]},
        "near_duplicates": [
            {"origin": "b", "reason": "repeats a", "text": "one two", "of": "a", "of_text": "one three"}
        ],
        "bounds": {"documents": 40, "characters": 1000, "examples": 10},
    }
    folder = root / "reports" / "curate"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "samples.json").write_text(json.dumps(samples))


@pytest.fixture
def card(tmp_path):
    write_card(tmp_path)
    return pages.render(tmp_path, "curate")


def test_documents_are_searched_filtered_and_turned(chromium, card):
    page = chromium.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(card.as_uri())
    documents = page.get_by_label("documents", exact=True)
    items, count = documents.locator(".item:visible"), documents.locator("output")
    expect(count).to_have_text("1–10 of 25")
    documents.get_by_label("forward").press("ArrowRight")
    expect(count).to_have_text("11–20 of 25")
    expect(items.first).to_contain_text("file#10")
    page.keyboard.press("/")
    page.keyboard.type("TEXT 2")
    expect(count).to_have_text("1–5 of 5")  # 2 and 20 to 23
    documents.get_by_label("split").select_option("train")
    expect(count).to_have_text("1–1 of 1")
    page.keyboard.press("/")  # goes to the field only where nothing is written
    documents.get_by_role("searchbox").fill("onerror")
    expect(count).to_have_text("none of 25")
    documents.get_by_label("split").select_option("")
    expect(items).to_contain_text(HOSTILE)
    expect(page.get_by_label("near-duplicates", exact=True).locator("mark")).to_have_text(["two", "three"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.title() == "Data card of the corpus" and problems == []
    if "CI" in os.environ:
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "card.png", full_page=True)
    page.close()


def test_no_other_script_and_no_inline_code_runs(chromium, card):
    card.write_text(card.read_text().replace("</body>", HOSTILE + "</body>"))
    page = chromium.new_page()
    page.goto(card.as_uri())
    expect(page.get_by_label("documents", exact=True).locator("output")).to_have_text("1–10 of 25")  # ours does
    assert page.title() == "Data card of the corpus"
    page.close()
