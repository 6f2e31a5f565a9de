from hypothesis import given
from hypothesis import strategies as st

from components.harness.fingerprint import code_digest, fingerprint

NAMES = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4)


@given(parameters=NAMES, inputs=NAMES, seed=st.integers(0, 2**32 - 1))
def test_the_order_of_names_does_not_matter_and_every_part_does(parameters, inputs, seed):
    name = fingerprint("code", parameters, seed, inputs)
    backwards = dict(reversed(list(parameters.items()))), dict(reversed(list(inputs.items())))
    assert fingerprint("code", backwards[0], seed, backwards[1]) == name
    assert len(name) == 20
    changed = {
        fingerprint("other", parameters, seed, inputs),
        fingerprint("code", {**parameters, "a longer name": "x"}, seed, inputs),
        fingerprint("code", parameters, seed + 1, inputs),
        fingerprint("code", parameters, seed, {**inputs, "a longer name": "x"}),
    }
    assert name not in changed and len(changed) == 4


def test_the_code_digest_sees_content_and_names_but_no_bytecode(tmp_path):
    package = tmp_path / "components" / "stage"
    (package / "__pycache__").mkdir(parents=True)
    (package / "a.py").write_text("x = 1\n")
    first = code_digest(tmp_path, ["components/stage"])
    (package / "__pycache__" / "a.pyc").write_bytes(b"1")
    assert code_digest(tmp_path, ["components/stage"]) == first
    (package / "a.py").write_text("x = 2\n")
    second = code_digest(tmp_path, ["components/stage"])
    (package / "a.py").rename(package / "b.py")
    assert len({first, second, code_digest(tmp_path, ["components/stage"])}) == 3
