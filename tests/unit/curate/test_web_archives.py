"""Archives as crawlers write them, whole and broken: every page is read, everything else is counted."""

import bz2
import gzip

import pytest
import zstandard

from components.curate.files import web_archives
from components.curate.files.parts import packed
from components.curate.files.user_files import UserFile, format_of
from components.curate.files.web_archives import LARGEST_PAGE, pages
from components.curate.ledger import Ledger
from core import bounded
from core.errors import InputProblem


def record(
    number, body, kind="response", headers="Content-Type: text/html; charset=utf-8\r\n", status=200, length=None
):
    block = body
    if kind == "response":
        block = f"HTTP/1.1 {status} OK\r\n{headers}\r\n".encode() + body
    media = {"response": "application/http; msgtype=response"}.get(kind, "text/plain")
    length = len(block) if length is None else length
    return (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Target-URI: http://x.org/{number}"
        f"\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n".encode()
        + block
        + b"\r\n\r\n"
    )


def read(tmp_path, content, name="a.warc", **piece):
    """Addresses and texts of the pages, and the ledger."""
    path = tmp_path / name
    path.write_bytes(content)
    ledger = Ledger(9)
    file = UserFile(name, path, format_of(path, {".warc": "warc", ".wet": "warc"}), **piece)
    return [(page.where[-1], page.text) for page in pages(file, ledger)], ledger


A, B, C = (record(number, f"<p>page {number}</p>".encode() * 20) for number in range(3))
TEXT = [(str(number), f"<p>page {number}</p>" * 20) for number in range(3)]
PACKED = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress, ".bz2": bz2.compress}


@pytest.mark.parametrize("suffix", PACKED)
def test_pages_are_read_and_what_is_none_is_counted(tmp_path, suffix):
    records = [
        record(9, b"software: x", "warcinfo"), A, record(9, b"GET /", "request"), B,
        record(9, b"{}", headers="Content-Type: application/json\r\n"), record(9, b"gone", status=404), C,
    ]  # fmt: skip
    content = b"".join(map(PACKED[suffix], records))
    found, ledger = read(tmp_path, content, f"a.warc{suffix}")
    assert found == TEXT
    assert ledger.skipped == {
        f"WARC records: {what}": 1 for what in ("warcinfo", "request", "application/json", "status 4xx")
    }
    assert (ledger.files[f"a.warc{suffix}"].rows, ledger.files[f"a.warc{suffix}"].broken) == (3, 0)


def test_extracted_texts_are_read_as_they_are(tmp_path):
    found, _ = read(tmp_path, gzip.compress(record(1, "Grüße <b>".encode(), "conversion")), "a.warc.wet.gz")
    assert found == [("1", "Grüße <b>")]


def test_bodies_are_unpacked_and_decoded_as_their_server_says(tmp_path):
    html = "Content-Type: text/html; charset=windows-1251\r\n"
    content = record(0, gzip.compress("Привет".encode("cp1251")), headers=f"{html}Content-Encoding: gzip\r\n")
    content += record(1, b"5\r\nhello\r\n0\r\n\r\n", headers=f"{html}Transfer-Encoding: chunked\r\n")
    found, ledger = read(tmp_path, content)
    assert found == [("0", "Привет"), ("1", "hello")]
    assert ledger.changed == {"pages read as cp1251": 1}


BROKEN = {
    "garbage between": (A + b"garbage\r\nmore\r\n" + B + C, "012", "what follows it, up to byte"),
    "cut within a page": (A + B[:-60], "0", "ends after"),
    "cut within a header": (A + B[:60], "0", "has no Content-Length"),
    "length too small": (A + record(1, b"<p>page</p>", length=60) + C, "012", "Invalid WARC header"),
    "length negative": (A + record(1, b"x", length=-5) + C, "02", "has no Content-Length"),
    "no length": (A + B.replace(b"Content-Length", b"Content-Width") + C, "02", "has no Content-Length"),
    "body that is no gzip": (A + record(1, b"zzz", headers="Content-Encoding: gzip\r\n") + C, "02", "unpacked"),
    "no answer in it": (A + record(1, b"").replace(b"HTTP/1.1 200 OK\r\n", b"\xff" * 17) + C, "02", "no answer"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_records_are_counted_and_the_others_read(tmp_path, what):
    content, expected, error = BROKEN[what]
    found, ledger = read(tmp_path, content)
    assert "".join(where for where, _ in found) == expected
    tally = ledger.files["a.warc"]
    assert tally.broken == len(tally.examples) == 1 and error in tally.examples[0]
    assert tally.rows == len(found) + 1


def test_a_damaged_member_costs_its_record_alone(tmp_path):
    members = list(map(gzip.compress, (A, B, C)))
    members[1] = members[1][:40] + b"\xff\xff" + members[1][42:]
    found, ledger = read(tmp_path, b"".join(members), "a.warc.gz")
    assert [where for where, _ in found] == ["0", "2"]
    assert ledger.files["a.warc.gz"].broken == 1 and "up to byte" in ledger.files["a.warc.gz"].examples[0]


def test_a_record_that_is_too_large_is_left_out_without_being_unpacked(tmp_path):
    huge = gzip.compress(record(1, bytes(LARGEST_PAGE)))
    found, ledger = read(tmp_path, gzip.compress(A) + huge + gzip.compress(C), "a.warc.gz")
    assert [where for where, _ in found] == ["0", "2"]
    assert ledger.skipped == {"WARC records: larger than 16 MiB": 1}
    liar = record(1, b"x", length=10**15)
    assert len(read(tmp_path, A + liar + C)[0]) == 2
    bomb = record(1, gzip.compress(bytes(LARGEST_PAGE + 9)), headers="Content-Encoding: gzip\r\n")
    assert len(read(tmp_path, A + bomb + C)[0]) == 2


def test_behind_a_record_that_is_too_large_reading_goes_on_where_there_is_no_way_back(tmp_path):
    found, ledger = read(tmp_path, bz2.compress(A + record(1, bytes(LARGEST_PAGE)) + C), "a.warc.bz2")
    assert [where for where, _ in found] == ["0", "2"]
    assert ledger.skipped == {"WARC records: larger than 16 MiB": 1}


def test_what_only_looks_like_records_is_given_up_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(web_archives, "_ATTEMPTS", 10)
    found, ledger = read(tmp_path, A + b"\nWARC/1." * 100 + b"\n" + B)
    assert [where for where, _ in found] == ["0"]
    assert ledger.files["a.warc"].broken == 1 and "up to the end" in ledger.files["a.warc"].examples[0]
    endless = A.replace(b"\r\n", b"\r\nX: " + b"a" * (1 << 17) + b"\r\n", 1)
    assert [where for where, _ in read(tmp_path, endless + B)[0]] == ["1"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", 1 << 20)
    member = PACKED[suffix](record(1, bytes(1 << 19)))
    with pytest.raises(InputProblem, match=rf"a.warc{suffix}: cannot be read as warc to its end .* unpacks to more"):
        read(tmp_path, member * 9, f"a.warc{suffix}")


def test_blank_lines_and_bodies_that_unpack_to_too_much_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", 1 << 20)
    blank = gzip.compress(A) + gzip.compress(b"\r\n" * (8 << 20))
    with pytest.raises(InputProblem, match="unpacks to more than"):
        read(tmp_path, blank, "a.warc.gz")
    assert len(list(packed([UserFile("a", tmp_path / "a.warc.gz", "warc")], 900))) == 1
    body = record(1, gzip.compress(bytes(1 << 19)), headers="Content-Type: text/plain\r\nContent-Encoding: gzip\r\n")
    with pytest.raises(InputProblem, match="unpacks to more than"):
        read(tmp_path, body * 3)
    assert len(read(tmp_path, body)[0]) == 1


@pytest.mark.parametrize("content", [b"<html>", gzip.compress(b"<html>"), b""], ids=["plain", "packed", "empty"])
def test_what_is_no_archive_is_refused_by_name(tmp_path, content):
    with pytest.raises(InputProblem, match=r"a.warc: holds no WARC record"):
        read(tmp_path, content)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2"])
def test_pieces_of_a_large_archive_are_all_of_it(tmp_path, suffix):
    records = [record(n % 10, f"<p>{n}</p>".encode() * (n * 37 % 101)) for n in range(60)]
    path = tmp_path / f"a.warc{suffix}"
    path.write_bytes(b"".join(map(PACKED[suffix], records)))
    whole = [page.text for page in pages(UserFile("a", path, "warc"), Ledger(0))]
    parts = list(packed([UserFile("a", path, "warc")], 2000))
    assert len(whole) == 60 and (len(parts) > 3) == (suffix in ("", ".gz"))
    ledger = Ledger(3)
    assert [page.text for part in parts for file in part.files for page in pages(file, ledger)] == whole
    assert not any(tally.broken for tally in ledger.files.values())
