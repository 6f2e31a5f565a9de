"""Signatures read with ast, and the questions asked about them, held against ``inspect`` and a parse of the text."""

from __future__ import annotations

import ast
import inspect
import keyword
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.tasks.signatures.functions import Function, Parameter, module_name, parse, render, standard_library
from components.tasks.signatures.questions import KINDS, as_text, ask, chatty

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
defaults = st.sampled_from(["None", "0", "-1", "'a, b'", "(1, 2)", "os.sep", "...", "1.", "lambda x, y=1: x"])


@st.composite
def parameter_lists(draw) -> tuple[Parameter, ...]:
    """Any list that Python accepts: kinds in order, no required parameter after an optional positional one."""
    drawn = draw(st.lists(names, max_size=7, unique=True))
    order = ["positional_only", "positional", "args", "keyword_only", "kwargs"]
    kinds = sorted(draw(st.lists(st.sampled_from(order), min_size=len(drawn), max_size=len(drawn))), key=order.index)
    found, optional, used = [], False, set()
    for name, kind in zip(drawn, kinds, strict=True):
        if kind in ("args", "kwargs"):
            if kind not in used:
                found.append(Parameter(name, kind))
            used.add(kind)
            continue
        has_default = draw(st.booleans()) or (optional and kind != "keyword_only")
        optional = optional or (has_default and kind != "keyword_only")
        default = ast.unparse(ast.parse(draw(defaults), mode="eval"))  # as the reader will write it
        found.append(Parameter(name, kind, default if has_default else None))
    return tuple(found)


@given(parameter_lists())
def test_a_rendered_signature_parses_back_to_itself(parameters):
    function = Function("m.f", "f", "m", parameters)
    (again,) = parse(f"{function.text}: pass", "m")
    assert again == function


@given(parameter_lists())
def test_every_answer_is_what_inspect_says(parameters):
    function = Function("m.f", "f", "m", parameters)
    # Defaults stand as text, so that names in them need not exist.
    shown = render(tuple(Parameter(p.name, p.kind, None if p.default is None else repr(p.default)) for p in parameters))
    namespace: dict = {}
    exec(f"def f({shown}): pass", namespace)
    truth = list(inspect.signature(namespace["f"]).parameters.values())
    optional = [p.name for p in truth if p.default is not p.empty]
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in truth if p.default is p.empty and p.kind not in starred]
    by_name = {p.name: p for p in truth}
    follows = {a.name: b.name for a, b in pairwise(truth)}
    for question in ask(function, longest_answer=200):
        words = question.prompt.split("? def ")[0].split()
        name = words[1] if question.kind == "keyword_only" else words[-1]
        expected = {
            "count": lambda: str(len(truth)),
            "optional_count": lambda: str(len(optional)),
            "args": lambda: "yes" if any(p.kind is p.VAR_POSITIONAL for p in truth) else "no",
            "kwargs": lambda: "yes" if any(p.kind is p.VAR_KEYWORD for p in truth) else "no",
            "keyword_only": lambda name=name: "yes" if by_name[name].kind is inspect.Parameter.KEYWORD_ONLY else "no",
            "first": lambda: truth[0].name,
            "last": lambda: truth[-1].name,
            "next": lambda name=name: follows[name],
            "default": lambda name=name: by_name[name].default,
            "optional": lambda: ", ".join(optional) or "none",
            "required": lambda: ", ".join(required) or "none",
        }[question.kind]()
        assert question.answer == expected, question.prompt


@given(parameter_lists())
def test_prompts_of_one_function_are_distinct_and_answers_bounded(parameters):
    questions = list(ask(Function("m.f", "f", "m", parameters), longest_answer=10))
    assert len({q.prompt for q in questions}) == len(questions)
    assert all(q.kind in KINDS and len(q.answer) <= 10 for q in questions)


def test_a_method_is_shown_as_it_is_called():
    found = parse(
        textwrap.dedent("""
            class C:
                def __init__(self, a: int, *, b="x"): ...
                @classmethod
                def make(cls, a): ...
                @staticmethod
                def free(a, b): ...
                def outer(self):
                    def inner(self, x): ...
            if True:
                async def f(a, /, b=-1, *args, **kw): ...
        """),
        "pkg.mod",
    )
    assert {f.qualified_name: render(f.parameters) for f in found} == {
        "pkg.mod.C.__init__": "a , * , b = 'x'",
        "pkg.mod.C.make": "a",
        "pkg.mod.C.free": "a , b",
        "pkg.mod.C.outer": "",
        "pkg.mod.C.outer.<locals>.inner": "self , x",
        "pkg.mod.f": "a , / , b = -1 , * args , ** kw",
    }


def test_near_identical_lists_share_a_key():
    keys = {
        f.list_key
        for f in parse("def a(n): ...\ndef b(n=-1): ...\ndef c(*, N): ...\ndef d(n_): ...\ndef e(n2): ...", "m")
    }
    assert keys == {"n"}
    (other,) = parse("def f(n, m): ...", "m")
    assert other.list_key not in keys


def test_names_of_underscores_and_digits_keep_a_key():
    one, two = parse("def a(_): ...\ndef b(__): ...", "m")
    assert one.list_key and two.list_key and one.list_key != two.list_key


def test_answers_follow_a_space_in_running_text():
    function = Function("m.f", "f", "m", (Parameter("timeout", "positional"), Parameter("x", "positional")))
    question = next(q for q in ask(function, 40) if q.kind == "first")
    assert as_text(question, 0) == "Which parameter is first? def f ( timeout , x ) Answer: timeout"
    assert as_text(question, 1).endswith(" The answer is timeout.")
    assert chatty("a, b") == "The answer is a, b."


@pytest.mark.parametrize(
    ("path", "module"),
    [("json/__init__.py", "json"), ("json/decoder.py", "json.decoder"), ("ast.py", "ast")],
)
def test_module_names(path, module):
    assert module_name(Path(path)) == module


def test_standard_library_leaves_out_tests_and_reports_what_cannot_be_read(tmp_path):
    for name, source in {
        "good.py": "def f(a): ...\ndef f(a): ...\ndef f(b): ...",
        "bad.py": "def f(:",
        "pkg/test/x.py": "def g(a): ...",
        "site-packages/y.py": "def h(a): ...",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    functions, unreadable = standard_library(tmp_path)
    assert [(f.qualified_name, render(f.parameters)) for f in functions] == [("good.f", "a"), ("good.f", "b")]
    assert unreadable == ["bad.py"]
