"""PDF files: made by matplotlib and by hand, whole, encrypted, scanned and broken."""

import hashlib
import io

import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from components.curate.files import pdf, user_files
from components.curate.parameters import CurateParameters
from core.errors import InputProblem
from tests.sandboxes import needs_sandbox
from tests.unit.curate.test_archives import zipped
from tests.unit.curate.test_curate_files import all_rows, put, report
from tests.unit.curate.workspace import curate, sentence


def drawn(*pages: str) -> bytes:
    """A PDF file of a program that many use, with fonts within it; an empty page is an image of nothing."""
    buffer = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}), PdfPages(buffer, metadata={"CreationDate": None}) as file:
        for text in pages:
            figure = Figure(figsize=(20, 4))
            figure.text(0.05, 0.5, text)
            file.savefig(figure)
    return buffer.getvalue()


def written(text: str, password: str | None = None) -> bytes:
    """The least PDF file with a text; with a password encrypted by RC4 (PDF 1.4, algorithms 3.1 to 3.4)."""
    content, trailer = f"BT /F 12 Tf 20 99 Td ({text}) Tj ET".encode(), b""
    if password is not None:
        padding = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
        user = (password.encode() + padding)[:32]
        owner = rc4(hashlib.md5(user).digest()[:5], user)
        key = hashlib.md5(user + owner + (-4).to_bytes(4, "little", signed=True)).digest()[:5]
        content = rc4(hashlib.md5(key + bytes([4, 0, 0, 0, 0])).digest()[:10], content)
        check = rc4(key, padding).hex().encode()
        trailer = (
            b"/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<" + owner.hex().encode() + b">/U<" + check + b">>>/ID[<><>]"
        )
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 999 200]/Contents 4 0 R"
        b"/Resources<</Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(content), content),
    ]
    body, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj%b endobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size 5/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF" % (trailer, len(body))
    return body + b"xref\n0 5\n0000000000 65535 f \n" + table + end


def rc4(key: bytes, content: bytes) -> bytes:
    state, place = list(range(256)), 0
    for index in range(256):
        place = (place + state[index] + key[index % len(key)]) % 256
        state[index], state[place] = state[place], state[index]
    found, one, two = bytearray(), 0, 0
    for byte in content:
        one = (one + 1) % 256
        two = (two + state[one]) % 256
        state[one], state[two] = state[two], state[one]
        found.append(byte ^ state[(state[one] + state[two]) % 256])
    return bytes(found)


@needs_sandbox
def test_pages_are_joined_by_blank_lines_and_divided_words_put_together():
    found = pdf.read(drawn("The first line, with infor-\nmation é.\nThe last line", "", "and more"))
    assert found == pdf.Pages("The first line, with information é.\nThe last line\n\nand more", 2, 1)
    assert pdf.read(written("Hello")) == pdf.Pages("Hello", 1, 0)
    assert pdf.read(written("Hello", password="")).text == "Hello"  # everybody may read it


BROKEN = {
    "encrypted": (lambda: written("Hello", password="secret"), "is encrypted"),
    "without text": (lambda: drawn("", ""), "has no text on its 2 pages: they may be images"),
    "cut": (lambda: written("Hello")[:99], "cannot be read as PDF"),
    "nonsense": (lambda: b"%PDF-1.7\n" + bytes(range(256)) * 9, "cannot be read as PDF"),
    "empty": (lambda: b"", "cannot be read as PDF"),
}


@needs_sandbox
@pytest.mark.parametrize("what", BROKEN)
def test_what_has_no_text_says_why(what):
    content, reason = BROKEN[what]
    with pytest.raises(ValueError, match=reason):
        pdf.read(content())


@needs_sandbox
def test_damage_anywhere_ends_no_more_than_its_file():
    content = drawn("one", "two")
    for place in range(0, len(content), len(content) // 3):
        try:
            assert pdf.read(content[:place] + b"\xff" * 300 + content[place + 300 :]).text
        except ValueError as error:
            assert str(error)


@needs_sandbox
def test_bounds_of_pages_size_time_and_memory(monkeypatch):
    monkeypatch.setattr(pdf, "MOST_PAGES", 1)
    with pytest.raises(ValueError, match="has 2 pages, more than 1"):
        pdf.read(drawn("one", "two"))
    monkeypatch.setattr(pdf, "LARGEST", 99)
    with pytest.raises(ValueError, match="is larger than 0 MiB"):
        pdf.read(written("Hello"))
    monkeypatch.setattr(pdf, "LARGEST", 1 << 20)
    monkeypatch.setattr(pdf, "BOUNDS", pdf.sandbox.Bounds(seconds=0.01))
    with pytest.raises(ValueError, match="takes longer than"):
        pdf.read(written("Hello"))
    monkeypatch.setattr(pdf, "BOUNDS", pdf.sandbox.Bounds(seconds=30, memory_megabytes=20))
    with pytest.raises(ValueError, match="ended the library that reads it"):
        pdf.read(written("Hello"))


@needs_sandbox
def test_a_corpus_is_made_of_pdf_files_and_those_without_text_are_counted(tmp_path, monkeypatch):
    for number in range(4):
        put(tmp_path, f"{number}.pdf", written(sentence(number)))
    put(tmp_path, "all.zip", zipped({"a/4.pdf": written(sentence(4)), "no.pdf": b"no"}))
    put(tmp_path, "secret.pdf", written("Hello", password="secret"))
    put(tmp_path, "long.pdf", drawn(sentence(5), "", sentence(6)))
    context = curate(
        tmp_path,
        [{"type": "files", "paths": ["data/raw/*.pdf", "data/raw/*.zip"], "max_file_characters": 240}],
        monkeypatch, max_broken_share=0.5,
    )  # fmt: skip
    rows = {row["origin"]: row["text"] for row in all_rows(context)}
    assert rows == {
        **{f"data/raw/{number}.pdf": sentence(number) for number in range(4)},
        "data/raw/all.zip/a/4.pdf": sentence(4), "data/raw/long.pdf#1": sentence(5), "data/raw/long.pdf#2": sentence(6),
    }  # fmt: skip
    broken = {
        each["file"]: (each["rows"], each["broken"], *each["examples"]) for each in report(context)["broken_rows"]
    }
    encrypted = "data/raw/secret.pdf: is encrypted: save it without a password"
    assert broken["PDF files"] == (6, 1, encrypted)
    assert broken["data/raw/all.zip (rows of its members)"][:2] == (2, 1)
    assert report(context)["skipped"] == {"PDF pages: without text": 1}
    with pytest.raises(InputProblem, match=r"PDF files: 1 of 6 rows cannot .*First: data/raw/secret.pdf: is enc"):
        curate(tmp_path, [{"type": "files", "paths": ["data/raw/*.pdf"]}], monkeypatch)


def test_a_library_or_a_sandbox_that_is_missing_is_named_before_anything_runs(tmp_path, monkeypatch):
    parameters = CurateParameters(
        sources=[{"type": "files", "paths": [put(tmp_path, "a.pdf", b"")]}], labels={"source": "none"}
    )
    monkeypatch.setattr(pdf, "find_spec", lambda name: None)
    (problem,) = user_files.problems(parameters, tmp_path)
    assert "not installed: pip install 'stemma-llm[pdf]'" in problem
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "")
    (problem,) = user_files.problems(parameters, tmp_path)
    assert problem.startswith("curate.sources: PDF files are read only in a sandbox, and bwrap is not installed")
