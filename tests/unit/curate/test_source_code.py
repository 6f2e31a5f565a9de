"""Source code is known by its suffix, its licence by its header."""

import pytest

from components.curate.files.source_code import license_of
from tests.unit.curate.test_curate_files import all_rows, put
from tests.unit.curate.workspace import curate, sentence


@pytest.mark.parametrize(
    ("line", "license"),
    [
        ("# SPDX-License-Identifier: MIT", "MIT"),
        ("/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */", "GPL-2.0-only WITH Linux-syscall-note"),
        ("// SPDX-License-Identifier:  (Apache-2.0 OR MIT) and more", "(Apache-2.0 OR MIT)"),
        ("<!-- SPDX-License-Identifier: BSD-3-Clause -->", "BSD-3-Clause"),
        ("; SPDX-License-Identifier: Apache-2.0 OR MIT", "Apache-2.0 OR MIT"),
        ("# License: MIT", None),
        ("\n" * 5000 + "# SPDX-License-Identifier: MIT", None),
    ],
)
def test_the_licence_of_a_file_is_the_one_in_its_header(line, license):
    assert license_of(f"#!/bin/sh\n{line}\necho\n") == license


def test_a_corpus_is_made_of_code_with_its_languages_and_licences(tmp_path, monkeypatch):
    def code(sign, number):
        return "".join(f"{sign} {sentence(n)}\nvalue_{n} = {n}\n\n" for n in range(number, number + 12))

    put(tmp_path, "code/a.py", ("# SPDX-License-Identifier: MIT\n" + code("#", 0)).encode())
    put(tmp_path, "code/lib/b.RS", code("//", 100).encode())
    put(tmp_path, "code/c.txt", "\n\n".join(map(sentence, range(200, 212))).encode())
    source = {"type": "files", "paths": ["data/raw/code/**/*"], "license": "CC0-1.0", "max_file_characters": 500,
              "keep_files_together": False}  # fmt: skip
    context = curate(tmp_path, [source], monkeypatch, quality={"profile": None},
                     deduplication={"threshold": 1}, language={"keep": ["en"]})  # fmt: skip
    rows = all_rows(context)
    assert {(row["kind"], row["license"], row["language"]) for row in rows} >= {
        ("code:python", "MIT", "zxx"), ("code:rust", "CC0-1.0", "zxx"),
    }  # fmt: skip
    assert sum(row["kind"] == "code:python" for row in rows) > 2
    assert all(row["license"] == "MIT" for row in rows if row["kind"] == "code:python")
