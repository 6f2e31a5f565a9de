"""Archives of texts, and archives that somebody made to do harm."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
import zstandard

from components.curate import archives
from components.curate.archives import members
from components.curate.ledger import Ledger
from components.curate.user_files import DOCUMENTS, UserFile, format_of
from core import bounded
from core.errors import InputProblem
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
    assert report(context)["broken_rows"][0]["file"] == f"{name}/a/broken.jsonl"
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
