"""Archives of texts, and archives that somebody made to do harm."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
import zstandard

from components.curate.files import archives, parts
from components.curate.files.archives import members
from components.curate.files.user_files import DOCUMENTS, UserFile, format_of
from components.curate.ledger import Ledger
from core import bounded
from core.errors import InputProblem
from tests.unit.curate.test_chunks import make
from tests.unit.curate.test_curate_files import all_rows, encoded, put, report
from tests.unit.curate.workspace import curate, sentence

PACK = {
    ".tar": bytes, ".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
    ".tar.zst": zstandard.ZstdCompressor().compress,
}  # fmt: skip
LONG = "long/" * 60


def tar(contents, change=lambda info: None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            change(info)
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def zipped(contents, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def made(suffix, contents):
    return zipped(contents) if suffix == ".zip" else PACK[suffix](tar(contents))


def read(tmp_path, name, content):
    """Names and contents of the members, and the ledger."""
    path = tmp_path / name
    path.write_bytes(content)
    ledger = Ledger(9)
    file = UserFile(name, path, format_of(path, DOCUMENTS))
    assert file.format == "archive"
    return {member.name: member.content for member in members(file, ledger)}, ledger


@pytest.mark.parametrize("suffix", [".zip", *PACK])
def test_members_of_supported_kinds_are_read_and_the_others_counted(tmp_path, suffix):
    contents = {
        "a.txt": b"one", f"{LONG}b.jsonl.gz": gzip.compress(b"{}"), "../../etc/c.md": b"three", "/d.html": b"<p>",
        ".hidden/x.txt": b"no", "__MACOSX/._a.txt": b"no", "picture.PNG": b"png", "Makefile": b"all:", "e.zip": b"PK",
    }  # fmt: skip
    found, ledger = read(tmp_path, f"x{suffix}", made(suffix, contents))
    names = ["a.txt", f"{LONG}b.jsonl.gz", "../../etc/c.md", "/d.html"]
    assert found == {f"x{suffix}/{name}": contents[name] for name in names}
    assert ledger.skipped == {"archive members: .png": 1, "archive members: without a suffix": 1}
    assert ledger.files[f"x{suffix}"].examples == [
        "e.zip: is an archive within an archive, which is not read: unpack it"
    ]
    assert (ledger.files[f"x{suffix}"].rows, ledger.files[f"x{suffix}"].broken) == (5, 1)


@pytest.mark.parametrize("suffix", [".zip", ".tar.zst"])
def test_a_corpus_is_made_of_tables_pages_and_texts_in_an_archive(tmp_path, monkeypatch, suffix):
    kinds = ("jsonl", "csv", "parquet")
    contents = {f"{kind}/rows.{kind}": encoded(kind).replace(b"chapter", kind.encode()) for kind in kinds[:2]}
    contents["parquet/rows.parquet"] = encoded("parquet")
    contents["a/page.html.gz"] = gzip.compress(f"<p>{sentence(900)} é</p>".encode("cp1252"))
    contents["a/broken.jsonl"] = b"{}\n"
    name = put(tmp_path, f"all{suffix}", made(suffix, contents))
    context = curate(tmp_path, [{"type": "files", "paths": [name]}], monkeypatch, deduplication={"threshold": 1},
                     max_broken_share=1)  # fmt: skip
    rows = all_rows(context)
    assert len(rows) == 3 * 40 + 1
    assert {row["origin"].split("#")[0] for row in rows} == {f"{name}/{member}" for member in contents} - {
        f"{name}/a/broken.jsonl"
    }
    broken = report(context)["broken_rows"]
    assert broken[0]["file"] == f"{name} (rows of its members)" and broken[0]["rows"] == 3 * 40 + 2
    assert broken[0]["examples"] == ["a/broken.jsonl, line 1: 'text' is missing"]
    assert report(context)["encodings"] == {"cp1252": {"files": 1, "first": [f"{name}/a/page.html.gz"]}}


def test_links_and_devices_are_never_followed(tmp_path):
    def change(info):
        info.type = {"l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE, "d": tarfile.CHRTYPE}.get(info.name[0], info.type)
        info.linkname = "/etc/passwd"

    found, ledger = read(tmp_path, "x.tar", tar({"l.txt": b"", "h.txt": b"", "d.txt": b"", "a.txt": b"one"}, change))
    assert list(found) == ["x.tar/a.txt"]
    assert ledger.skipped == {"archive members: links and special files": 3}
    link = zipfile.ZipInfo("l.txt")
    link.external_attr = 0o120777 << 16
    found, ledger = read(tmp_path, "x.zip", zipped({link: b"/etc/passwd", "a.txt": b"one"}))
    assert list(found) == ["x.zip/a.txt"] and ledger.skipped.total() == 1


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz"])
def test_a_bomb_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", 1 << 20)
    content = made(suffix, {f"{n}.txt": bytes(1 << 19) for n in range(9)})
    with pytest.raises(InputProblem, match=rf"x{suffix}: cannot be read as an archive .*unpacks to more than 1 MiB"):
        read(tmp_path, f"x{suffix}", content)


def test_a_bomb_within_is_counted_with_its_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", 1 << 20)
    name = put(tmp_path, "x.zip", zipped({f"{n}.txt.gz": gzip.compress(b"a \n" * (1 << 17)) for n in range(9)}))
    with pytest.raises(InputProblem, match=r"x.zip/\d.txt.gz: cannot be read as text to its end .*more than 1 MiB"):
        curate(tmp_path, [{"type": "files", "paths": [name]}], monkeypatch)


def test_overlapping_entries_count_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", 1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(1 << 19))
        for _ in range(9):
            archive.filelist.append(archive.filelist[0])
    with pytest.raises(InputProblem, match="unpacks to more than 1 MiB"):
        read(tmp_path, "x.zip", buffer.getvalue())


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_member_that_is_too_large_is_left_out(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1 << 20)
    found, ledger = read(tmp_path, f"x{suffix}", made(suffix, {"big.txt": bytes(3 << 20), "a.txt": b"one"}))
    assert list(found) == [f"x{suffix}/a.txt"]
    assert "big.txt: is larger than 1 MiB" in ledger.files[f"x{suffix}"].examples[0]


def test_a_header_that_says_it_is_huge_is_refused(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, (1 << 33) - 1
    with pytest.raises(InputProblem, match="a header of it is larger"):
        read(tmp_path, "x.tar", info.tobuf() + bytes(8 << 20))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.zst"])
@pytest.mark.parametrize("harm", ["cut", "garbage", "empty"])
def test_a_damaged_archive_is_refused_by_name(tmp_path, suffix, harm):
    content = made(suffix, {f"{n}.txt": sentence(n).encode() * 30 for n in range(20)})
    content = {"cut": content[: len(content) // 2], "garbage": b"garbage" * 200, "empty": b""}[harm]
    with pytest.raises(InputProblem, match=rf"x{suffix}: cannot be read as an archive to its end"):
        read(tmp_path, f"x{suffix}", content)


def test_damaged_and_encrypted_members_of_a_zip_file_cost_themselves_alone(tmp_path):
    content = bytearray(zipped({"a.txt": b"one" * 50, "b.txt": b"two" * 50, "c.txt": b"three"}))
    place = content.index(b"a.txt") + 7
    content[place : place + 4] = b"\xff" * 4
    entry = content.rindex(b"b.txt") - 46
    content[entry + 8] |= 1
    found, ledger = read(tmp_path, "x.zip", bytes(content))
    assert found == {"x.zip/c.txt": b"three"}
    assert [line.split(":")[0] for line in ledger.files["x.zip"].examples] == ["a.txt", "b.txt"]
    assert "is encrypted" in ledger.files["x.zip"].examples[1]


UNREADABLE = {
    "nul.txt": (b"\0\1\2\3" * 99, "holds NUL bytes"),
    "nul.html": (b"<p>\0\1</p>", "page: holds NUL bytes"),
    "cut.txt.gz": (gzip.compress(b"one" * 99)[:-9], "cannot be read as text to its end"),
    "no.parquet": (b"PAR1" * 9, "cannot be read as parquet"),
    "long.csv": (b'text\n"one\ntwo\n', "a quotation mark in line 2 opens"),
    "other.jsonl": (b'{"a": 1}\n', "has no column 'text'"),
    "no.json": (b"{", "is not one JSON list"),
    "no.warc": (b"no", "holds no WARC record"),
    "within.zip": (zipped({"a.txt": b"one"}), "an archive within an archive"),
}


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_member_that_cannot_be_read_is_one_bad_row(tmp_path, monkeypatch, suffix):
    contents = {f"{n}.txt": sentence(n).encode() for n in range(20)}
    contents = {name: content for name, (content, _) in UNREADABLE.items()} | contents
    name = put(tmp_path, f"x{suffix}", made(suffix, contents))
    context = curate(tmp_path, [{"type": "files", "paths": [name]}], monkeypatch, max_broken_share=0.5, examples=20)
    assert len(all_rows(context)) == 20
    members_of, rows_of = report(context)["broken_rows"]
    assert (members_of["rows"], members_of["broken"]) == (len(contents), len(UNREADABLE) - 1)
    assert rows_of["broken"] == 1  # the page
    examples = "\n".join(members_of["examples"] + rows_of["examples"])
    for member, (_, reason) in UNREADABLE.items():
        assert any(line.startswith(member) and reason in line for line in examples.splitlines()), member


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_members_with_odd_names_break_no_message_and_the_same_name_twice_loses_nothing(tmp_path, suffix):
    odd = {"a\nb\x1b[31m.txt": b"one", "..\\up.txt": b"two", "/": b"", "n" * 5000 + ".txt": b"three", " .txt": b"four"}
    found, ledger = read(tmp_path, f"x{suffix}", made(suffix, odd))
    assert [name.removeprefix(f"x{suffix}/") for name in found] == ["a?b?[31m.txt", "../up.txt", " .txt"]
    assert "has a name of more than 4096 characters" in ledger.files[f"x{suffix}"].examples[0]
    path = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", b"one")
            archive.writestr("a.txt", b"two")
    else:
        content = tar({"a.txt": b"one"})
        path.write_bytes(content[:1024] + tar({"a.txt": b"two"}))
    assert [each.content for each in members(UserFile("x", path, "archive"), Ledger(1))] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda content: content[:1024], "has no end mark"),
        (lambda content: content + content, "more follows behind the end mark"),
    ],
    ids=["cut between members", "joined"],
)
def test_an_end_that_is_not_one_is_counted(tmp_path, harm, reason):
    found, ledger = read(tmp_path, "x.tar", harm(tar({"a.txt": b"one", "b.txt": b"two"})))
    assert found["x.tar/a.txt"] == b"one"
    assert ledger.files["x.tar"].broken == 1 and reason in ledger.files["x.tar"].examples[0]


def test_a_damaged_header_is_no_end(tmp_path):
    content = bytearray(tar({"a.txt": b"one", "b.txt": b"two"}))
    content[1024 + 148] ^= 1  # its checksum
    with pytest.raises(InputProblem, match="a header is damaged"):
        read(tmp_path, "x.tar", bytes(content))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_pieces_of_a_large_archive_are_all_of_it(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(archives, "LEAST_UNPACKED", 4096)
    contents = {f"{LONG}{n}.txt": sentence(n).encode() * (n % 7) for n in range(60)}
    path = tmp_path / f"x{suffix}"
    path.write_bytes(made(suffix, {**contents, "a.png": b"png", "e.zip": b"PK"}))
    file = UserFile("x", path, "archive")
    pieces = list(parts.packed([file], 2000))
    assert len(pieces) > 3 and len({piece.name for piece in pieces}) == len(pieces)
    digests = [parts.digest(piece.files) for piece in pieces]
    assert len(set(digests)) == (1 if suffix == ".tar.gz" else len(pieces))
    whole, ledger = Ledger(3), Ledger(3)
    expected = [(member.name, member.content) for member in members(file, whole)]
    assert len(expected) == 60
    found = [(each.name, each.content) for part in pieces for piece in part.files for each in members(piece, ledger)]
    assert found == expected and ledger.as_dict() == whole.as_dict()


@pytest.mark.slow
def test_workers_that_divide_archives_change_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "CHUNK", 3000)
    monkeypatch.setattr(archives, "LEAST_UNPACKED", 20_000)
    for place, suffix in enumerate((".zip", ".tar", ".tar.gz")):
        texts = {f"{n}.txt": f"{sentence(n)}\n".encode() for n in range(80 * place, 80 * place + 80)}
        put(tmp_path, f"texts/x{suffix}", made(suffix, texts))
    assert make(tmp_path) == make(tmp_path, engine={"workers": 2})


def test_an_archive_that_cannot_be_divided_is_one_piece(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(9):
            archive.writestr(f"{n}.txt", bytes(999))
        archive.filelist.reverse()
    assert len(list(parts.packed([UserFile("x", path, "archive")], 1000))) == 1
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", pax_headers={"uname": "all"}) as archive:
        for n in range(9):
            info = tarfile.TarInfo(f"{n}.txt")
            info.size = 999
            archive.addfile(info, io.BytesIO(bytes(999)))
    assert len(list(parts.packed([UserFile("x", path, "archive")], 1000))) == 1
