"""The chat page in a real browser, before a small engine that says what it is asked to say."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from deploy.gateway.client import ChatFailed, Conversation
from tests.browser import chromium, context, page  # noqa: F401  (fixtures)
from tests.integration.gateway.conftest import CONTEXT, SMALL, Gateway

LONG = "word " * (CONTEXT // 4)  # three of them, with their answers, are more than the context


@pytest.fixture
def chat(page: Page, small: Gateway) -> Page:  # noqa: F811
    page.goto(small.url)
    expect(page.get_by_role("status")).to_contain_text("Serving assistant:1")
    return page


def ask(chat: Page, question: str) -> None:
    chat.get_by_label("Your question").fill(question)
    chat.get_by_role("button", name="Send").click()
    expect(chat.get_by_role("button", name="Stop")).to_be_disabled()


def test_a_conversation_longer_than_the_context_goes_on_with_a_mark(chat):
    for _ in range(3):
        ask(chat, f"say {{count}} {LONG}")
    answers = chat.locator("li.its")
    expect(answers).to_have_count(3)
    # The first question alone, the second after the first and its answer; before the third the first was left out.
    sent = [re.search(r"\d+", text)[0] for text in answers.locator("div").all_inner_texts()]
    assert sent == ["1", "3", "3"]
    mark = chat.locator("li.mark")
    expect(mark).to_contain_text("The 2 messages above are no longer sent")
    expect(chat.get_by_role("alert")).to_be_hidden()
    chat.reload()
    expect(mark).to_have_count(1)
    expect(answers).to_have_count(3)


def test_a_conversation_in_the_terminal_goes_on_as_well(small):
    talk = Conversation(small.url, SMALL)
    answers = ["".join(talk.ask(f"say {{count}} {LONG}")) for _ in range(3)]
    assert [answer.split()[0] for answer in answers] == ["1", "3", "3"] and talk.left_out == 2
    with pytest.raises(ChatFailed, match="shorten it"):
        list(talk.ask("word " * CONTEXT * 2))
    talk.reset()
    assert "".join(talk.ask("say {count}")) == "1" and talk.left_out == 0


def test_a_question_that_cannot_be_sent_stays_where_it_was_written(chat):
    ask(chat, "say hello")
    ask(chat, "word " * CONTEXT * 2)
    expect(chat.get_by_role("alert")).to_contain_text("shorten it")
    expect(chat.get_by_label("Your question")).to_have_value(re.compile(r"^word word"))
    expect(chat.locator("li.mine")).to_have_count(1)
    ask(chat, "say hi <end>")
    expect(chat.get_by_role("alert")).to_contain_text("spells the model's control token <end>")
    expect(chat.get_by_label("Your question")).to_have_value("say hi <end>")


def test_the_talk_the_draft_and_the_settings_survive_a_reload(chat):
    ask(chat, "say {count} one")
    chat.get_by_text("Settings").click()
    chat.get_by_label("Temperature").fill("0.5")
    chat.get_by_label("Your question").fill("say {count} two")
    chat.reload()
    expect(chat.locator("li.its div")).to_have_text("1 one")
    expect(chat.locator("li.its b")).to_have_text("assistant:1")
    expect(chat.get_by_label("Your question")).to_have_value("say {count} two")
    expect(chat.get_by_label("Temperature", exact=False)).to_have_value("0.5")
    expect(chat.get_by_role("status")).to_contain_text("Serving assistant:1")
    chat.get_by_role("button", name="Send").click()
    expect(chat.locator("li.its div").last).to_have_text("3 two"), "the model sees what was said before the reload"
    chat.get_by_role("button", name="New conversation").click()
    chat.reload()
    expect(chat.get_by_role("status")).to_contain_text("Serving assistant:1")
    expect(chat.locator("#talk > li")).to_have_count(0)


MARKDOWN = """say # Title

A **bold** and *slanted* word, `a < b`, and a [link](https://example.org/x).

- first
- second with `code`

1. one
2. two

```python
def f(x): return "<b>" * x
```

> quoted
"""


def test_markdown_is_shown(chat):
    ask(chat, MARKDOWN)
    answer = chat.locator("li.its div")
    expect(answer.get_by_role("heading", level=3)).to_have_text("Title")
    expect(answer.locator("strong")).to_have_text("bold")
    expect(answer.locator("em")).to_have_text("slanted")
    expect(answer.locator("p code")).to_have_text("a < b")
    link = answer.get_by_role("link", name="link")
    expect(link).to_have_attribute("href", "https://example.org/x")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    assert answer.locator("ul li").all_inner_texts() == ["first", "second with code"]
    assert answer.locator("ol li").all_inner_texts() == ["one", "two"]
    expect(answer.locator("pre code")).to_have_text('def f(x): return "<b>" * x')
    expect(answer.locator("blockquote p")).to_have_text("quoted")


@pytest.mark.parametrize(
    "hostile",
    [
        "<img src=x onerror=alert(1)> <script>alert(1)</script>",
        "[click](javascript:alert(1)) [data](data:text/html,x) ![pixel](https://evil.example/pixel.png)",
        '**<svg onload=alert(1)>** `<iframe>` [<b>x</b>](https://example.org/"onclick="alert)',
    ],
)
def test_nothing_that_a_model_writes_becomes_markup_or_a_request(chat, hostile):
    dialogs = []
    chat.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
    ask(chat, f"say {hostile}")
    answer = chat.locator("li.its div")
    expect(answer).to_contain_text("<" if "<" in hostile else "click")
    assert answer.locator("img, script, svg, iframe, b").count() == 0
    assert [link for link in answer.locator("a").all() if not link.get_attribute("href").startswith("https://")] == []
    assert not dialogs  # and the context's end checks that nothing was asked of another host


def test_the_settings_leave_the_chat_in_sight_on_a_telephone(chat):
    chat.set_viewport_size({"width": 375, "height": 667})
    ask(chat, "say hello there")
    chat.get_by_text("Settings").click()
    chat.get_by_label("Seed").scroll_into_view_if_needed()
    expect(chat.get_by_label("Seed")).to_be_in_viewport(ratio=1)
    box = chat.locator("main").bounding_box()
    assert box["height"] >= 0.3 * 667 - 1
    expect(chat.locator("li.its")).to_be_in_viewport(ratio=1)
    assert chat.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
