"""Parameters of the curate stage: where text comes from, which rules it must pass, how it is split."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.contract import StageParameters
from components.curate.filters.quality_parameters import QualityParameters
from components.curate.privacy.entities import EntityParameters
from components.curate.text.language_parameters import LANGUAGES, LanguageParameters
from components.decontamination.parameters import DecontaminationParameters
from components.engine.parameters import EngineParameters
from components.tasks.curation import InstructionTask, InstructionTasks, LabelTask, LabelTasks, label_source
from components.text_classifier.parameters import ClassifierParameters

Extractor = Literal["resiliparse", "trafilatura"]
Kind = Literal["docstring", "comment", "topic", "c_doc"]
_EXTRACTOR = (
    "Library that takes the main content of HTML pages: resiliparse (fast), trafilatura (more exact, seven times "
    "slower; `pip install 'stemma-llm[html]'`)."
)
PiiType = Literal["email", "phone", "ip", "card", "iban", "key"]


_COLUMNS = (  # of the documents themselves, on their way and in the corpus
    "id", "text", "source", "kind", "group", "license", "origin", "characters", "rule", "reason", "signature",
    "language", "bits_per_byte",
)  # fmt: skip
FORM_COLUMNS = (
    "prompt", "completion", "chosen", "rejected", "messages", "conversations", "system", "tools", "label", "kto_tag",
    "instruction", "input", "output", "history", "ranked", "responses", "completions", "answers", "scores", "ranks",
)  # fmt: skip
"""Columns of the forms in which rows of instruction data come (docs/tasks.md)."""


class PythonDocsSource(StageParameters):
    """The running interpreter's own standard library, harvested at run time; nothing third-party is read."""

    type: Literal["python_docs"] = "python_docs"
    kinds: tuple[Kind, ...] = Field(
        ("docstring", "comment", "topic", "c_doc"),
        min_length=1,
        description="What to harvest: docstrings and comments of the .py files, `help()` topics, docs of C modules.",
    )
    max_documents: int | None = Field(None, ge=1, description="Stop this source after so many documents; null: all.")


class FilesSource(StageParameters):
    """The user's own files."""

    type: Literal["files"] = "files"
    paths: tuple[str, ...] = Field(
        min_length=1,
        description="Globs under data/raw (`**` crosses folders), or URLs (s3://, gs://, hf://, https://): txt, md, "
        "html, warc, wet, jsonl, json, csv, tsv, parquet, source code, each "
        "also as .gz, .zst, .bz2 or .xz, and within .zip and .tar archives.",
    )
    name: str = Field(
        "files", min_length=1, description="Name of the source in the corpus, for the data card and a mixture."
    )
    text_column: str = Field("text", min_length=1, description="Column of a table that holds the text.")
    group_column: str | None = Field(
        None, description="Column whose equal values stay in one split (author, page ...); null: each row on its own."
    )
    markup: Literal["auto", "html", "none"] = Field(
        "auto",
        description="auto: strip markup from .html files and pages of web archives; html: from every text; none: from "
        "nothing.",
    )
    extractor: Extractor = Field("resiliparse", description=_EXTRACTOR)
    license: str = Field("unknown", min_length=1, description="Licence of these files, for the data card.")
    max_file_characters: int = Field(
        20_000,
        ge=200,
        description="A longer txt or md file is cut at blank lines into documents of about this length.",
    )
    keep_files_together: bool = Field(
        True, description="Pieces of one txt or md file stay in one split; set false when there is only one file."
    )
    max_documents: int | None = Field(None, ge=1, description="Stop this source after so many documents; null: all.")


class HuggingFaceSource(StageParameters):
    """A dataset of the Hugging Face hub, or a local folder that `datasets.load_dataset` can read."""

    type: Literal["huggingface"] = "huggingface"
    id: str = Field(min_length=1, description="Dataset id, or path of a local folder.")
    config: str | None = Field(None, description="Configuration of the dataset, where it has several.")
    revision: str | None = Field(None, description="Commit or tag of the dataset; without one a rerun may differ.")
    split: str = Field("train", min_length=1, description="Split to read, slices such as train[:1%] included.")
    streaming: bool = Field(True, description="Read as a stream instead of downloading the whole split first.")
    text_column: str = Field("text", min_length=1, description="Column that holds the text.")
    group_column: str | None = Field(
        None, description="Column whose equal values stay in one split; null: each row on its own."
    )
    markup: Literal["html", "none"] = Field("none", description="html: strip markup from the text.")
    extractor: Extractor = Field("resiliparse", description=_EXTRACTOR)
    license: str | None = Field(None, description="Licence for the data card; null: what the dataset itself declares.")
    max_documents: int | None = Field(None, ge=1, description="Stop this source after so many documents; null: all.")


Source = Annotated[PythonDocsSource | FilesSource | HuggingFaceSource, Field(discriminator="type")]


class LinesParameters(StageParameters):
    """Lines or paragraphs that are removed from every document because many hold them."""

    unit: Literal["line", "paragraph"] = Field("line", description="What is compared; blank lines part paragraphs.")
    min_count: int = Field(10, ge=2, description="Documents that hold it, from which on it is removed from all.")
    min_characters: int = Field(
        20,
        ge=1,
        description="A line or paragraph of fewer letters, digits and blanks stays (brackets, headings).",
    )


class SubstringsParameters(StageParameters):
    """Passages that are cut out of a document because they stand in earlier text."""

    min_characters: int = Field(
        200,
        ge=50,
        le=10_000,
        description="Length from which a repeated passage is cut; of a document, if fewer are left, all. Lee et al. "
        "(2022): 50 tokens.",
    )


class DeduplicationParameters(StageParameters):
    """Near duplicates by MinHash over word shingles; exact duplicates are always removed."""

    threshold: float = Field(
        0.8, gt=0, le=1, description="Estimated Jaccard similarity from which a later document is dropped."
    )
    split_threshold: float = Field(
        0.6, gt=0, le=1, description="Similarity from which two kept documents must be in the same split."
    )
    shingle_words: int = Field(3, ge=1, le=20, description="Words in a shingle.")
    permutations: int = Field(128, ge=16, le=1024, multiple_of=16, description="Length of a MinHash signature.")
    against: tuple[str, ...] = Field(
        (),
        description="Globs of an earlier corpus's shards under data/raw: what repeats one of its documents, exactly or "
        "nearly, is dropped.",
    )
    lines: LinesParameters | None = Field(
        None, description="Removal of lines that many documents share, before duplicates are dropped; null: they stay."
    )
    substrings: SubstringsParameters | None = Field(
        None, description="Removal of passages that stand in earlier text, after that; null: they stay (docs/data.md)."
    )

    @model_validator(mode="after")
    def _linking_is_weaker(self) -> DeduplicationParameters:
        if self.split_threshold > self.threshold:
            raise ValueError(
                f"split_threshold ({self.split_threshold}) must not exceed threshold ({self.threshold}): lower it, or "
                "near-duplicates could straddle a split boundary"
            )
        return self


class SplitParameters(StageParameters):
    """Train, validation and test by content hash; near-duplicates and siblings of a group stay together."""

    validation: float = Field(
        0.05, gt=0, lt=0.5, description="Share of the text held out for validation; tokenize and pretrain need some."
    )
    test: float = Field(0.05, gt=0, lt=0.5, description="Share of the text held out for the test; evaluate needs some.")
    held_out: tuple[str, ...] = Field(
        (),
        description="Globs of an earlier corpus's shards under data/raw: exactly their documents are the test split, "
        "and `test` does not count.",
    )


class InstructionShares(StageParameters):
    """Shares of the groups (a task's own, or prompts of user files) outside instruct; the rest is instruct."""

    reward: float = Field(0.09, ge=0, lt=1, description="prompts whose sampled answers train the reward model")
    preference: float = Field(0.09, ge=0, lt=1, description="fresh prompts for preference tuning")
    development: float = Field(0.06, gt=0, lt=1, description="prompts that choices are made on")
    test: float = Field(0.13, gt=0, lt=1, description="prompts that results are reported on")

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if sum(self.model_dump().values()) >= 0.9:
            raise ValueError("the shares must sum to less than 0.9: what remains is the instruct training data")
        return self


class InstructionFiles(StageParameters):
    """Globs of the user's files (jsonl, json, csv, tsv, parquet), relative to the workspace."""

    instruct: list[str] = Field([], description="answers to fine-tune on")
    reward: list[str] = Field([], description="prompts or ranked pairs for the reward model")
    preference: list[str] = Field([], description="prompts or ranked pairs for preference tuning")
    development: list[str] = Field([], description="rows to choose on")
    test: list[str] = Field([], description="rows to report on")
    columns: dict[str, str] = Field(
        {}, description="the files' names for the columns of a form, such as {prompt: question, completion: reply}"
    )
    max_broken_share: float = Field(0.01, ge=0, lt=1, description="share of a file's rows that may be unusable")

    @model_validator(mode="after")
    def _columns_of_a_form(self) -> Self:
        if unknown := sorted(set(self.columns) - set(FORM_COLUMNS)):
            raise ValueError(
                f"columns: no form of rows has a column {', '.join(map(repr, unknown))}; there are "
                f"{', '.join(FORM_COLUMNS)}"
            )
        named = list(self.columns.values())
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"columns: {', '.join(map(repr, twice))} stands for two columns: remove one")
        return self


class InstructionsParameters(InstructionTasks):
    """Instruction data: of a task that Stemma makes itself (``signatures``), the user's ``files``, or ``none``."""

    source: Literal[InstructionTask, "files", "none"] = Field(
        "signatures", description="where the questions come from; none: the stages that learn from them are skipped"
    )
    shares: InstructionShares = Field(InstructionShares(), description="shares of the splits")
    files: InstructionFiles = Field(InstructionFiles(), description="the user's files (source: files)")

    @model_validator(mode="after")
    def _name_files(self) -> Self:
        if self.source == "files" and not self.files.instruct:
            raise ValueError("source is files, but files.instruct names none: give at least one glob there")
        return self


class LabelsParameters(LabelTasks):
    """Labelled texts: of a task (``topics``: docstring -> topic of its module), the user's ``files``, or ``none``."""

    source: Literal[LabelTask, "files", "none"] = Field("topics", description="where texts and labels come from")
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="share of the texts to choose on")
    test_share: float = Field(0.2, gt=0, lt=0.5, description="share of the texts to report on")
    files: list[str] = Field(
        [], description="globs of csv, tsv, jsonl, json or parquet files, relative to the workspace (source: files)"
    )
    text_column: str = Field("text", min_length=1, description="column that holds the text (files)")
    label_column: str = Field("label", min_length=1, description="column that holds the label (files)")
    max_broken_share: float = Field(0.01, ge=0, lt=1, description="share of a file's rows that may be unusable")

    @model_validator(mode="after")
    def _name_files(self) -> Self:
        if self.source == "files" and not self.files:
            raise ValueError("source is files, but files names none: give at least one glob there")
        return self


class CurateParameters(StageParameters):
    """Section `curate` of params.yaml."""

    sources: tuple[Source, ...] = Field(
        (PythonDocsSource(),),
        description="Where the text comes from, read in this order. May be empty, for a model that is imported.",
    )
    unicode_form: Literal["NFC", "NFKC", "none"] = Field("NFC", description="Unicode normalization of every text.")
    repair_mojibake: bool = Field(
        False, description="Repair text that was decoded wrongly before it came here (`schÃ¶n`), by ftfy."
    )
    language: LanguageParameters | None = Field(
        None,
        description="Languages that stay; documents are then judged by rules that fit their language (docs/curate.md). "
        "null: no language is looked for.",
    )
    quality: QualityParameters = Field(default_factory=QualityParameters, description="Rules a document must pass.")
    classifiers: tuple[ClassifierParameters, ...] = Field(
        (), description="Classifiers of your own that judge what passes these rules (docs/quality.md)."
    )
    redact: tuple[PiiType, ...] = Field(
        ("email", "phone", "ip", "card", "iban", "key"),
        description="Personal data and secrets that are replaced by placeholders.",
    )
    placeholder: Literal["typed", "hashed"] = Field(
        "typed",
        description="typed: [EMAIL]; hashed: [EMAIL_3f2a], equal for equal values, keyed by a salt that stays in "
        ".stemma/keys.",
    )
    ner: EntityParameters | None = Field(
        None, description="A model of yours that finds names and addresses (docs/curate.md). null: they stay."
    )
    deduplication: DeduplicationParameters = Field(
        default_factory=DeduplicationParameters, description="What counts as the same text."
    )
    split: SplitParameters = Field(default_factory=SplitParameters, description="Shares of the splits.")
    max_broken_share: float = Field(
        0.01, ge=0, le=1, description="Tolerated share of unreadable rows in a file; above it the stage stops."
    )
    outside_links: bool = Field(
        False, description="Read what links in data/raw lead to outside it; false: such a link is refused."
    )
    shard_megabytes: int = Field(64, ge=1, le=4096, description="Text in one shard of the corpus.")
    engine: EngineParameters = Field(
        EngineParameters(), description="Where the text is worked on; the corpus is the same bytes on all of them."
    )
    examples: int = Field(
        10, ge=0, le=50, description="Examples of each rule's drops and of each change shown in the report."
    )
    instructions: InstructionsParameters = Field(
        default_factory=InstructionsParameters, description="Instruction and preference data."
    )
    labels: LabelsParameters = Field(default_factory=LabelsParameters, description="The classification task.")
    decontamination: DecontaminationParameters = Field(
        default_factory=DecontaminationParameters,
        description="Training texts that hold what models are measured on.",
    )

    @model_validator(mode="after")
    def _classifiers_have_names_of_their_own(self) -> Self:
        taken = [*_COLUMNS, *(each.name for each in self.classifiers)]
        if twice := sorted({each.name for each in self.classifiers if taken.count(each.name) > 1}):
            raise ValueError(f"classifiers: {', '.join(twice)}: is the name of another column or classifier; rename it")
        return self

    @model_validator(mode="after")
    def _languages_are_known(self) -> Self:
        languages = self.quality.perplexity.languages if self.quality.perplexity else {}
        if unknown := [code for code in languages if code not in LANGUAGES]:
            raise ValueError(
                f"quality.perplexity.languages: {', '.join(unknown)}: not among the languages that are recognized "
                "(ISO 639 codes, such as de)"
            )
        if languages and self.language is None:
            raise ValueError(
                "quality.perplexity.languages: the language of a document is not known: set curate.language, such as "
                "{keep: null}"
            )
        return self

    @model_validator(mode="after")
    def _can_be_labelled(self) -> Self:
        if self.labels.source == "files" or self.labels.source == "none":
            return self
        source, kind = label_source(self.labels.source)
        if not any(each.type == source and kind in each.kinds for each in self.sources):
            raise ValueError(
                f"labels.source is {self.labels.source}, which labels each {kind} of a {source} source, and there is "
                "none among sources: set labels.source to files (your own labels) or none"
            )
        return self
