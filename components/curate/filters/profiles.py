"""Values of the quality rules for kinds of text, by family and rule.

Where a profile has no value for a rule, that of ``docstrings`` holds: the defaults of
:mod:`components.curate.filters.quality_parameters`, for documents far shorter than the web pages that the rules were
made for.

The rules were published for English web pages, and Gopher's authors left their books, news and code alone (Rae et al.
2021, appendix A.1): ``books``, ``code`` and ``chat`` have the published value where it makes sense for them, and a
reason beside what differs.
"""

from __future__ import annotations

from typing import Any, Literal

Profile = Literal["docstrings", "web", "books", "code", "chat"]
Values = dict[str, dict[str, Any]]

# Each family as its paper has it. FineWeb applies Gopher's rules, C4's without remove_unpunctuated_lines (it takes 30 %
# of the tokens: Penedo et al. 2024, section 3.5), and its own. The program that made C4 asks for 5 words in a line and
# 3 sentences, not 3 and 5 (tensorflow_datasets/text/c4_utils.py).
_WEB: Values = {
    "gopher": {  # Rae et al. 2021, arXiv:2112.11446, appendix A.1.1 and table A1
        "min_words": 50,
        "max_words": 100_000,
        "min_mean_word_length": 3,
        "max_mean_word_length": 10,
        "max_symbol_word_ratio": 0.1,
        "max_bullet_lines": 0.9,
        "max_ellipsis_lines": 0.3,
        "min_alphabetic_words": 0.8,
        "min_stop_words": 2,
        "repetition_min_words": 1,
        "max_duplicate_lines": 0.3,
        "max_duplicate_paragraphs": 0.3,
        "max_duplicate_line_characters": 0.2,
        "max_duplicate_paragraph_characters": 0.2,
        "max_top_ngram_characters": {2: 0.2, 3: 0.18, 4: 0.16},
        "max_duplicate_ngram_characters": {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
    },
    "c4": {  # Raffel et al. 2020, arXiv:1910.10683, section 2.2
        "remove_unpunctuated_lines": True,
        "line_min_words": 3,
        "remove_javascript_lines": True,
        "remove_policy_lines": True,
        "drop_lorem_ipsum": True,
        "drop_curly_bracket": True,
        "min_sentences": 5,
    },
    "fineweb": {  # Penedo et al. 2024, arXiv:2406.17557, section 3.6
        "min_punctuated_lines": 0.12,
        "max_duplicate_line_characters": 0.1,
        "max_short_lines": 0.67,
    },
}
# Long prose: books, articles, reports; lines may be wrapped.
_BOOKS: Values = {
    "gopher": {
        **_WEB["gopher"],
        "max_words": None,  # a novel has more
        # The longer a text, the more of its phrases were there before.
        "max_duplicate_ngram_characters": {5: 0.2, 6: 0.19, 7: 0.18, 8: 0.17, 9: 0.16, 10: 0.15},
    },
    "c4": {
        "remove_unpunctuated_lines": False,  # wrapped lines end anywhere
        "line_min_words": None,  # "Yes," he said.
        "remove_javascript_lines": False,  # what a web page says of itself; in a book it is a subject
        "remove_policy_lines": False,
        "drop_lorem_ipsum": True,
        "drop_curly_bracket": False,  # formulas, listings
        "min_sentences": 5,
    },
    "fineweb": {
        "min_punctuated_lines": None,  # wrapped lines, verse
        "max_duplicate_line_characters": None,  # refrains and running heads; Gopher's 0.2 stays
        "max_short_lines": None,  # verse, dialogue
    },
}
# Source code: only what tells of minified, generated and binary files.
_CODE: Values = {
    "gopher": {
        "min_words": 10,  # less is an empty module or a single constant
        "max_words": 100_000,  # data in the form of code
        "min_mean_word_length": None,  # operators and braces are words here
        "max_mean_word_length": 30,  # call(argument) is one word; minified code and base64 have hundreds of characters
        "max_symbol_word_ratio": None,  # # begins a comment or a directive
        "max_bullet_lines": None,  # lists of YAML, the stars of block comments
        "max_ellipsis_lines": None,  # ... is a statement of Python
        "min_alphabetic_words": 0.4,  # below: tables of numbers
        "min_stop_words": None,  # code is no English
        "repetition_min_words": 50,
        "max_duplicate_lines": None,  # else: and } are most of what repeats
        "max_duplicate_paragraphs": 0.5,
        "max_duplicate_line_characters": 0.5,
        "max_duplicate_paragraph_characters": 0.5,
        "max_top_ngram_characters": {2: 0.3, 3: 0.3, 4: 0.3},  # generated tables
        "max_duplicate_ngram_characters": {},  # idioms repeat
    },
    "c4": {  # every rule speaks of prose on web pages
        "remove_unpunctuated_lines": False,
        "line_min_words": None,
        "remove_javascript_lines": False,
        "remove_policy_lines": False,
        "drop_lorem_ipsum": False,
        "drop_curly_bracket": False,
        "min_sentences": None,
    },
    "fineweb": {  # lines of code end in no punctuation, and are short
        "min_punctuated_lines": None,
        "max_duplicate_line_characters": None,
        "max_short_lines": None,
    },
}
# Conversations, mails and posts: a document may be one line.
_CHAT: Values = {
    "gopher": {
        "min_words": 2,  # "Thank you."; one word alone teaches nothing
        "max_words": 100_000,
        "min_mean_word_length": 2,  # u, ok, :)
        "max_mean_word_length": 15,  # a short message may be half an address of a page
        "max_symbol_word_ratio": 0.3,  # hashtags, and ... between thoughts
        "max_bullet_lines": None,  # an answer may be a list
        "max_ellipsis_lines": None,  # and end in ...
        "min_alphabetic_words": 0.5,  # numbers, emoji
        "min_stop_words": None,  # too short to need any
        "repetition_min_words": 50,
        "max_duplicate_lines": 0.5,  # yes, thanks, the names of the speakers
        "max_duplicate_paragraphs": 0.5,
        "max_duplicate_line_characters": 0.3,
        "max_duplicate_paragraph_characters": 0.3,
        "max_top_ngram_characters": {2: 0.25, 3: 0.24, 4: 0.23},  # names of speakers
        "max_duplicate_ngram_characters": {5: 0.3, 6: 0.29, 7: 0.28, 8: 0.27, 9: 0.26, 10: 0.25},  # quoted turns
    },
    "c4": {  # what a web page says of itself is a subject here, and turns end without punctuation
        "remove_unpunctuated_lines": False,
        "line_min_words": None,
        "remove_javascript_lines": False,
        "remove_policy_lines": False,
        "drop_lorem_ipsum": False,
        "drop_curly_bracket": False,
        "min_sentences": None,
    },
    "fineweb": {
        "min_punctuated_lines": None,  # turns end without punctuation
        "max_duplicate_line_characters": None,  # Gopher's 0.3 stays
        "max_short_lines": None,  # turns are short
    },
}
_NONE: Values = {
    "gopher": {**dict.fromkeys(_WEB["gopher"]), "repetition_min_words": 1, "max_top_ngram_characters": {},
               "max_duplicate_ngram_characters": {}},
    "c4": {name: False if value is True else None for name, value in _WEB["c4"].items()},
    "fineweb": dict.fromkeys(_WEB["fineweb"]),
}  # fmt: skip

PROFILES: dict[Profile, Values] = {
    "docstrings": {"gopher": {}, "c4": {}, "fineweb": {}},
    "web": _WEB,
    "books": _BOOKS,
    "code": _CODE,
    "chat": _CHAT,
}


def completed(given: dict[str, Any]) -> dict[str, Any]:
    """The values given, and the profile's where none is given; what cannot be understood is left for validation.

    Without a profile (``None``) a family that is not given is off, and of one that is, every rule but those given.
    """
    profile = given.get("profile", "docstrings")
    if profile is not None and (not isinstance(profile, str) or profile not in PROFILES):
        return given
    values: Values = PROFILES[profile] if profile is not None else _NONE  # type: ignore[index]
    found = dict(given)
    for family, rules in values.items():
        if family not in given:
            found[family] = rules if profile is not None else None
        elif isinstance(given[family], dict):
            found[family] = {**rules, **given[family]}
    return found
