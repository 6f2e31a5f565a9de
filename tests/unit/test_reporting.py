from components.reporting import Page


def test_a_page_is_one_file_with_everything_escaped(tmp_path):
    picture = tmp_path / "x.png"
    picture.write_bytes(b"\x89PNG")
    path = Page("Title <1>", "lead").heading("H").text("a < b").code("<script>").table(
        ["name", "value"], [["a", 12345], ["b", 0.123456], ["c", None], ["d", True]]
    ).figure(picture, "a picture").write(tmp_path / "page.html")  # fmt: skip
    text = path.read_text()
    assert "Title &lt;1&gt;" in text and "&lt;script&gt;" in text and "a &lt; b" in text
    assert "12,345" in text and "0.1235" in text and ">True<" in text
    assert "data:image/png;base64,iVBORw==" in text
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".partial"] == []
