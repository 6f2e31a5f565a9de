"""Pages: one file each, everything escaped; rendered again when their report or the layout changes."""

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from components import pages
from components.pages.page import Page, ShownDocument

PRETRAIN = {
    "steps": 80, "parameters": 12345, "trained_tokens": 2000, "corpus_tokens": 1000, "precision": "fp32",
    "validation_loss": 1.5, "validation_loss_stderr": 0.01, "validation_tokens": 500, "validation_bits_per_byte": 0.7,
    "unigram_loss": 4.25, "unigram_bits_per_byte": 2.5, "samples": [{"step": 80, "text": "def <f>():"}],
}  # fmt: skip


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "reports" / "pretrain"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(PRETRAIN))
    for name in ("loss.png", "learning_rate.png"):
        (folder / name).write_bytes(b"\x89PNG")
    return tmp_path


def test_a_page_is_one_file_with_everything_escaped(tmp_path):
    picture = tmp_path / "x.png"
    picture.write_bytes(b"\x89PNG")
    text = Page("Title <1>", "lead").heading("H").text("a < b").code("<script>").table(
        ["name", "value"], [["a", 12345], ["b", 0.123456], ["c", None], ["d", True]]
    ).figure(picture, "a picture").html()  # fmt: skip
    assert "Title &lt;1&gt;" in text and "&lt;script&gt;" in text and "a &lt; b" in text
    assert "12,345" in text and "0.1235" in text and ">True<" in text
    assert "data:image/png;base64,iVBORw==" in text


def test_a_page_allows_its_own_style_and_script_alone():
    plain, browsed = Page("A").html(), Page("A").documents("texts", [ShownDocument("one", [("text", "")])]).html()
    for page, scripts in ((plain, 0), (browsed, 1)):
        [policy] = re.findall('http-equiv="Content-Security-Policy" content="(.*?)">', page)
        bodies = [*re.findall("<style>(.*?)</style>", page, re.S), *re.findall("<script>(.*?)</script>", page, re.S)]
        digests = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]
        assert len(digests) == 1 + scripts
        assert policy.replace("&#39;", "'").startswith("default-src 'none'; img-src data:; style-src 'sha256-")
        assert sorted(re.findall("sha256-(.*?)&#39;", policy)) == sorted(digests) and "unsafe" not in policy
    with pytest.raises(ValueError, match="cannot name a facet"):
        Page("A").documents("texts", [ShownDocument("one", [], facets={"a onload": "x"})])


def test_a_page_shows_what_the_report_holds(workspace):
    assert pages.render(workspace, "pretrain") == workspace / "reports" / "pretrain.html"
    text = (workspace / "reports" / "pretrain.html").read_text()
    for shown in ("12,345 parameters", "2.00 passes", "4.25", "after step 80", "def &lt;f&gt;():", "fp32"):
        assert shown in text, shown


def test_a_stage_without_a_report_or_a_page_has_none(workspace):
    assert pages.render(workspace, "evaluate@base") is None
    assert pages.render(workspace, "unknown") is None
    assert pages.refresh(workspace, ["evaluate@base", "unknown"]) == []
    assert [path.name for path in (workspace / "reports").iterdir()] == ["pretrain"]


def test_a_page_is_rendered_again_when_its_report_changed_and_only_then(workspace):
    page = workspace / "reports" / "pretrain.html"
    assert pages.refresh(workspace, ["pretrain"]) == []
    first = page.stat().st_ino
    assert pages.refresh(workspace, ["pretrain"]) == []
    assert page.stat().st_ino == first
    (workspace / "reports/pretrain/report.json").write_text(json.dumps({**PRETRAIN, "precision": "bf16"}))
    assert pages.refresh(workspace, ["pretrain"]) == []
    assert page.stat().st_ino != first and "bf16" in page.read_text()


@pytest.mark.parametrize("part", ["page.py", "page.css"])
def test_a_page_is_rendered_again_when_the_layout_changed(workspace, tmp_path, monkeypatch, part):
    pages.refresh(workspace, ["pretrain"])
    page = workspace / "reports" / "pretrain.html"
    first = page.read_text()
    copy = tmp_path / "pages"
    shutil.copytree(Path(pages.__file__).parent, copy)
    (copy / part).write_text((copy / part).read_text() + "\n")
    monkeypatch.setattr(pages, "__file__", str(copy / "__init__.py"))
    pages.refresh(workspace, ["pretrain"])
    assert page.read_text() != first


def test_a_report_of_another_version_is_a_problem_and_no_crash(workspace):
    (workspace / "reports/pretrain/report.json").write_text(json.dumps({"steps": 3}))
    [problem] = pages.refresh(workspace, ["pretrain"])
    assert problem.startswith("reports/pretrain: ") and "run the stage pretrain again" in problem
    assert not (workspace / "reports" / "pretrain.html").exists()
