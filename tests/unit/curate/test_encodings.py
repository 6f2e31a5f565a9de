"""What an encoding is known by: marks, UTF-8 itself, declarations, and at last its looks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.curate.files import encodings
from components.curate.files.text_files import text_lines
from components.curate.files.user_files import UserFile

TEXTS = {
    "cp1252": "Die Größe der Bäume über dem Fluß hängt von der Höhe ab, und das Öl müßte für die Tür genügen.",
    "cp1250": "Żółw łąką idzie, a źdźbła trawy są już żółte; każdy chłopiec śmieje się, gdyż świt jest piękny.",
    "cp1251": "Старый рыбак медленно шёл вдоль берега реки, и холодный ветер гнал перед ним опавшие листья.",
    "koi8-u": "Старый рыбак медленно шёл вдоль берега реки, и холодный ветер гнал перед ним опавшие листья.",
    "cp932": "古い漁師は川の岸に沿ってゆっくり歩き、冷たい風が落ち葉を吹き飛ばしていました。",
    "euc_jp": "古い漁師は川の岸に沿ってゆっくり歩き、冷たい風が落ち葉を吹き飛ばしていました。",
    "gb18030": "老渔夫沿着河岸慢慢地走着，冷风吹动他面前的落叶，天空中没有一朵云。",
    "big5hkscs": "老漁夫沿著河岸慢慢地走著，冷風吹動他面前的落葉，天空中沒有一朵雲。",
    "iso2022_jp": "古い漁師は川の岸に沿ってゆっくり歩き、冷たい風が落ち葉を吹き飛ばしていました。",
}


@pytest.mark.parametrize("name", TEXTS)
def test_lines_in_many_encodings_are_known_by_their_looks(tmp_path, name):
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain\n" * 50 + (TEXTS[name] + "\n").encode(name) * 3)
    noted = []
    lines = [line.decode() for line in text_lines(UserFile("a.txt", path, "text"), noted.append)]
    assert lines[50:] == [TEXTS[name] + "\n"] * 3
    assert noted == [name]


def test_a_page_is_read_by_what_it_or_its_server_declares_unless_it_is_utf_8():
    page = "<html><head><meta charset='{}'></head><p>å ä ö</p></html>"
    assert encodings.decode(page.format("iso-8859-1").encode("latin-1"))[0] == page.format("iso-8859-1")
    assert encodings.decode("<p>Пример</p>".encode("cp1251"), "windows-1251") == ("<p>Пример</p>", "cp1251")
    wrong = page.format("iso-8859-1")
    assert encodings.decode(wrong.encode(), "iso-8859-1") == (wrong, "utf-8")
    damaged = ("Größe über alles, schöne Bäume " * 20).encode() + b"\xfc"
    assert encodings.decode(damaged) == (damaged.decode("utf-8", "replace"), "utf-8")


def test_one_wrong_line_among_utf_8_breaks_itself_alone():
    assert encodings.of_lines(["größer\n".encode(), b"gr\xf6\xdfer\n"]) == "utf-8"


@given(st.binary(max_size=200), st.sampled_from([None, "utf-16", "rot13", "base64", "no such", "iso-2022-jp", "\0"]))
def test_any_bytes_are_decoded_without_an_error(content, declared):
    encodings.decode(content, declared)
    encodings.of_lines(content.splitlines(keepends=True))


@given(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1),
    st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]),
)
def test_marked_text_comes_back_whole(text, name):
    assert encodings.decode(text.encode(name)) == (text, name)
