"""Names of versions, and what a wrong one is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.db.references import Reference, parse, resolve
from registry.errors import UnknownReference
from registry.lineage.recording import record_execution
from tests.unit.registry.conftest import item

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_\-]{0,20}", fullmatch=True)


@given(NAMES, st.integers(1, 10**6), NAMES)
def test_three_forms(model, version, alias):
    assert parse(model) == Reference(model)
    assert parse(f"{model}:{version}") == parse(f"{model}:v{version}") == Reference(model, version=version)
    assert parse(f"{model}@{alias}") == Reference(model, alias=alias)


@pytest.mark.parametrize("text", ["", "a b", "base:", "base:x", "base@", "base:1@champion", "@champion", "base:-1"])
def test_what_is_no_name(text):
    with pytest.raises(UnknownReference, match="MODEL:VERSION"):
        parse(text)


def test_newest_version_and_clear_errors(registry, finished):
    with registry.read() as session, pytest.raises(UnknownReference, match=r"registry is empty.*stemma run"):
        resolve(session, "base")
    with registry.write() as session:
        for number in (1, 2):
            made = item("model", f"m{number}", "model", "base")
            record_execution(session, finished("pretrain", [], [made], started=float(number)))
    with registry.read() as session:
        assert resolve(session, "base").version == 2
        assert resolve(session, "base:1").artifact.digest == "m1"
        for text, told in (
            ("bose", "there is no model 'bose'; known: base"),
            ("base:7", "base has no version 7; known: 1, 2"),
            ("base@champion", "base has no alias 'champion'; promote one first"),
        ):
            with pytest.raises(UnknownReference, match=told):
                resolve(session, text)
