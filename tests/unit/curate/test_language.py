"""Languages are identified offline, those not asked for are dropped, and the rest is judged by rules that fit it."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.curate import batches
from components.curate.documents import FIELDS
from components.curate.filters import quality, scripts
from components.curate.filters.quality_parameters import QualityParameters
from components.curate.ledger import Ledger
from components.curate.parameters import CurateParameters
from components.curate.process import process, schema
from components.curate.text.language import _model, identify
from components.curate.text.language_parameters import LANGUAGES, LanguageParameters
from tests.unit.curate.test_curate_files import all_rows, put, report
from tests.unit.curate.workspace import curate, sentence

TEXTS = {
    "en": "The old fisherman walked slowly along the shore, and the cold wind drove the leaves before him.",
    "de": "Der alte Fischer ging langsam am Ufer entlang, und der kalte Wind trieb die Blätter vor ihm her.",
    "fr": "Le vieux pêcheur marchait lentement le long du rivage, et le vent froid chassait les feuilles devant lui.",
    "ru": "Старый рыбак медленно шёл вдоль берега реки, и холодный ветер гнал перед ним опавшие листья.",
    "zh": "老渔夫沿着河岸慢慢地走着，冷风吹动他面前的落叶，天空中没有一朵云。",
    "ja": "古い漁師は川の岸に沿ってゆっくり歩き、冷たい風が落ち葉を吹き飛ばしていました。",
    "th": "ชาวประมงชราเดินช้าๆ ไปตามชายฝั่ง และลมหนาวพัดใบไม้ที่อยู่ข้างหน้าเขา",
    "und": "12 + 30 = 42 / 7 * 6; 0x1F, 3.14, --",
}
# A page of news: 13 sentences, no two alike.
CHINESE = """上个星期六，小镇上的图书馆重新开放了。两年前的一场大火烧毁了屋顶和许多旧书。
镇上的居民捐出了自己家里的书籍，学校的孩子们也帮忙打扫房间。木匠王师傅做了三十个新的书架，他没有收一分钱。
馆长在门口欢迎每一位客人，并且给他们倒了一杯热茶。他说，这座房子建于一百二十年以前，最早是一家丝绸商店。
二楼现在有一间安静的阅览室，窗户朝向河边的花园。晚上七点以后，这里还会举办免费的音乐会和讲座。
第一位演讲者是一位来自北方大学的历史教授。她将介绍古代商人怎样穿过沙漠，把茶叶运到遥远的国家。
许多听众已经提前写信询问座位的情况。如果天气不好，活动会改在体育馆里进行。门票可以在车站旁边的邮局领取。"""
WEB = QualityParameters(profile="web")


def batch_of(texts):
    columns = [list(texts), *([name] * len(texts) for name in FIELDS[1:])]
    return pa.record_batch([pa.array(column, pa.string()) for column in columns], names=list(FIELDS))


def test_languages_are_identified_by_a_model_that_is_here():
    codes = [each.code for each in identify(list(TEXTS.values()), ["file"] * len(TEXTS), LanguageParameters())]
    assert codes == list(TEXTS)
    labels, _ = _model().predict("a", 500, -1.0)
    assert {label.removeprefix("__label__") for label in labels} == LANGUAGES


def test_the_threshold_of_a_language_stands_before_the_general_one():
    (found,) = identify(["def f(x): return x+1"], ["file"], LanguageParameters())
    assert (found.code, found.guess) == ("und", "es") and 0.2 < found.probability < 0.3
    (found,) = identify(["def f(x): return x+1"], ["file"], LanguageParameters(thresholds={"es": 0.2}))
    assert found.code == "es"


def test_what_is_in_another_language_is_dropped_with_its_language_and_probability():
    parameters = CurateParameters(language={"keep": ["en", "zh", "und"]}, redact=[])
    ledger = Ledger(3)
    rows = process(batch_of([*TEXTS.values(), " "]), parameters, 0, ledger).to_pylist()
    assert [row["language"] for row in rows] == [*TEXTS, "und"]
    assert {row["language"] for row in rows if row["rule"] == "language"} == {"de", "fr", "ru", "ja", "th"}
    assert ledger.dropped["language"] == 5 and ledger.languages == {**dict.fromkeys(TEXTS, 1), "und": 2}
    assert {example["reason"].split(" ")[0] for example in ledger.examples("language")} < {"de", "fr", "ru", "ja", "th"}
    assert rows[-1]["rule"] == "empty"


def test_source_code_is_in_no_language_and_stays():
    (found,) = identify(["def f(x): return x+1"], ["code:python"], LanguageParameters())
    assert found.code == "zxx" and found.finding(LanguageParameters(keep=["en"])) is None


def test_without_the_parameter_no_language_is_looked_for():
    parameters = CurateParameters()
    assert parameters.language is None and "language" not in schema(parameters).names


def test_an_unknown_language_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="keep: eng, xx: not among the languages that are recognized: af, als"):
        CurateParameters(language={"keep": ["en", "eng", "xx"]})


def test_chinese_passes_the_published_rules_only_when_they_are_fitted():
    assert quality.judge(CHINESE, WEB) == ("gopher_min_words", "6 words")
    assert scripts.judged([CHINESE], ["zh"], WEB, compiled=False) == [None]
    (short,) = scripts.judged([CHINESE[:60]], ["zh"], WEB, compiled=False)
    assert short is not None and short[0] == "gopher_min_words"
    (repeated,) = scripts.judged([CHINESE + ("\n欢迎光临本店，谢谢。" * 20)], ["zh"], WEB, compiled=False)
    assert repeated is not None and repeated[0].startswith("gopher_duplicate")
    (again,) = scripts.judged(["我们买东西，" * 60 + "。"], ["zh"], WEB, compiled=False)
    assert again is not None and again[0].startswith("gopher_top")


def test_lines_are_removed_by_the_marks_of_their_own_script():
    text = "今天天气很好，我们一起去公园。\n首页 新闻\nआज मौसम अच्छा है।"
    assert scripts.c4_lines([text], ["zh"], WEB) == [("今天天气很好，我们一起去公园。\nआज मौसम अच्छा है।", 1)]
    thai = "วันนี้อากาศดีมากเราไปสวนสาธารณะกัน"
    assert scripts.c4_lines([thai, thai], ["th", "en"], WEB) == [(thai, 0), ("", 1)]


@pytest.mark.parametrize("language", ["de", "ru"])
def test_english_stop_words_are_asked_of_english_alone(language):
    rules = QualityParameters(profile=None, gopher={"min_stop_words": 2})
    found = scripts.judged(
        [TEXTS["en"], TEXTS[language], TEXTS[language]], ["en", language, "und"], rules, compiled=False
    )
    assert found == [None, None, ("gopher_stop_words", "0 stop words")]


@given(st.lists(st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("中文ภาษ。，「\n a1་"))), max_size=4))
def test_the_copy_has_the_lines_of_the_text_and_the_kernels_agree_on_it(texts):
    texts = [text for text in texts if text.strip()]
    copies = list(map(scripts.as_english, texts))
    for text, copy in zip(texts, copies, strict=True):
        assert copy.count("\n") == text.count("\n") and bool(copy.strip()) == bool(text.strip())
        assert scripts.as_english(copy).split() == copy.split()
    languages = ["zh", "th", "und", "fr"][: len(texts)]
    assert scripts.judged(texts, languages, WEB, compiled=True) == scripts.judged(texts, languages, WEB, compiled=False)
    assert len(batches.judged(copies, WEB, compiled=True)) == len(texts)


def test_near_duplicates_are_found_in_scripts_without_blanks():
    parameters = CurateParameters(language={}, redact=[], quality={"profile": None})
    other = CHINESE.replace("三十个", "四十个")
    one, two = (row["signature"] for row in process(batch_of([CHINESE, other]), parameters, 0, Ledger(0)).to_pylist())
    alike = sum(one[place : place + 4] == two[place : place + 4] for place in range(0, len(one), 4)) / (len(one) / 4)
    assert alike > 0.9


def test_the_corpus_and_the_report_name_languages(tmp_path, monkeypatch):
    english = [f"It was said that {sentence(n)}" for n in range(40)]
    rows = [*english, *(f"{TEXTS['de']} {n}" for n in range(5)), *(f"{TEXTS['ru']} {n}" for n in range(3))]
    path = put(tmp_path, "a.jsonl.gz", gzip.compress("\n".join(json.dumps({"text": text}) for text in rows).encode()))
    context = curate(
        tmp_path, [{"type": "files", "paths": [path]}], monkeypatch, deduplication={"threshold": 1},
        language={"keep": ["en", "de"], "threshold": 0.4},
    )  # fmt: skip
    assert {row["language"] for row in all_rows(context)} == {"en", "de"}
    found = {each["language"]: (each["read"], each["kept"]) for each in report(context)["languages"]}
    assert found == {"en": (40, 40), "de": (5, 5), "ru": (3, 0)}
    (rule,) = (each for each in report(context)["rules"] if each["rule"] == "language")
    assert rule["dropped"] == 3 and rule["examples"][0]["reason"].startswith("ru")
    assert all("language" in pq.read_schema(shard).names for shard in context.outputs["corpus"].glob("*.parquet"))
