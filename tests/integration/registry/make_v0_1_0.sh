#!/usr/bin/env bash
# Makes v0_1_0.tar.xz, which test_old_layout.py unpacks: a workspace of v0.1.0 after one tiny run, base:1 its champion.
#
#   PATH=ENVIRONMENT/bin:$PATH tests/integration/registry/make_v0_1_0.sh
#
# The environment is one with the packages of v0.1.0. All work is done in /srv/demo, the only path that the archive
# mentions. It holds:
#
#   workspace.bundle  the branch main and refs/stemma/runs/tiny; its root commit, tagged v0.1.0, is the tree of COMMIT
#                     without tests, bench and docs
#   cache             DVC's objects
#   home              the registry, the gate's verdict, and a throw-away signing key; MLflow's database is left out
#   sha256            of every file that the run made or read, by its path in the workspace
#   processor         that made them
set -euo pipefail
COMMIT=d80eb35
HOME_OF_DEMO=/srv/demo

here=$(cd "$(dirname "$0")" && pwd)
repository=$(git -C "$here" rev-parse --show-toplevel)
archive=$here/v0_1_0.tar.xz
[ ! -e $HOME_OF_DEMO ] || { echo "$HOME_OF_DEMO exists; remove it first" >&2; exit 1; }
mkdir -p $HOME_OF_DEMO/workspace/data/raw $HOME_OF_DEMO/packed
git -C "$repository" archive $COMMIT | tar -x -C $HOME_OF_DEMO/workspace --exclude={tests,bench,docs,.ci,.github}
cd $HOME_OF_DEMO/workspace

# Nothing of this machine's user or settings: a clean environment, one thread.
demo() {
  env -i PATH="$PATH" HOME=$HOME_OF_DEMO USER=ada LOGNAME=ada LANG=C.UTF-8 TMPDIR="${TMPDIR:-/tmp}" \
    GIT_CONFIG_GLOBAL=$HOME_OF_DEMO/gitconfig GIT_CONFIG_SYSTEM=/dev/null DVC_SITE_CACHE_DIR=$HOME_OF_DEMO/dvc-site \
    DVC_NO_ANALYTICS=1 DO_NOT_TRACK=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 "$@"
}

demo git config --global user.name Ada
demo git config --global user.email ada@example.org
demo git init -q -b main
demo git add -A
demo git commit -qm "Stemma v0.1.0"
demo git tag v0.1.0

# Sentences and questions of an English that needs no source.
demo python - <<'PYTHON'
import json
import random

chance = random.Random(1)
adjectives = "old small quiet green heavy early narrow bright patient wooden distant careful empty common warm".split()
nouns = "river clerk letter garden bridge lantern teacher winter ladder market sailor window orchard map bell".split()
verbs = "finds carries follows repairs describes leaves paints remembers crosses borrows measures opens".split()
places = "near the under the behind the beside the beyond the above the".replace(" the", "_the").split()


def thing() -> str:
    return f"{chance.choice(adjectives)} {chance.choice(nouns)}"


def sentence() -> str:
    return f"The {thing()} {chance.choice(verbs)} a {thing()} {chance.choice(places).replace('_', ' ')} {thing()}."


with open("data/raw/text.jsonl", "w") as file:
    for _ in range(300):
        file.write(json.dumps({"text": " ".join(sentence() for _ in range(4))}) + "\n")
with open("data/raw/sums.jsonl", "w") as file:
    for a in range(10):
        for b in range(10):
            file.write(json.dumps({"prompt": f"{a} plus {b}?", "completion": str(a + b)}) + "\n")
PYTHON

demo python -m flows.cli init --quiet
demo python -m flows.cli run --name tiny --until evaluate@base \
  --set 'curate.sources=[{type: files, paths: [data/raw/text.jsonl], license: CC0-1.0}]' \
  --set 'curate.instructions={source: files, files: {instruct: [data/raw/sums.jsonl]}}' \
  --set 'curate.labels={source: none}' \
  --set tokenize.vocabulary_size=300 \
  --set pretrain.architecture.hidden_size=16 --set pretrain.architecture.intermediate_size=32 \
  --set pretrain.architecture.num_hidden_layers=1 --set pretrain.architecture.num_attention_heads=2 \
  --set pretrain.context=64 --set pretrain.batch_size=8 --set pretrain.steps=40 --set pretrain.precision=fp32 \
  --set pretrain.devices=1 --set pretrain.evaluate_every=20 --set pretrain.checkpoint_every=40 \
  --set 'pretrain.sample_prompts=[The old]' --set pretrain.sample_tokens=8 \
  --set evaluate.answers.max_new_tokens=4 --set evaluate.answers.prompts=8 \
  --set 'evaluate.samples={prompts: [The old], max_new_tokens: 8}' --set evaluate.lm_eval.tasks='[]' \
  --set 'promotion={base: {bits_per_byte: {max: 8.0, max_drop: 0.05}}}'
demo python -m flows.cli promote base:1 --to champion --force --reason "the fixture's only version"
demo python -m flows.cli audit
demo git add -A
demo git commit -qm "A tiny job"

# Uncompressed objects: xz packs them better than zlib and xz together.
demo git -c pack.compression=0 -c core.compression=0 repack -qadF --depth=50
demo git -c pack.compression=0 bundle create -q ../packed/workspace.bundle main v0.1.0 refs/stemma/runs/tiny
mkdir ../packed/cache ../packed/home
cp -r .dvc/cache/files ../packed/cache
cp -r .stemma/keys .stemma/gates ../packed/home
python -c "import sqlite3; sqlite3.connect('.stemma/registry.db').execute(\"VACUUM INTO '../packed/home/registry.db'\")"
find data models reports metrics receipts dvc.lock -type f ! -name .gitignore -print0 | sort -z | xargs -0 sha256sum \
  > ../packed/sha256
sed '/^$/q' /proc/cpuinfo | grep -E '^(vendor_id|cpu family|model|flags)\b' > ../packed/processor
cd ../packed
if grep -rlaF -e "$repository" -e "$(dirname "$(command -v python)")" .; then
  echo "these files mention a path of this machine" >&2
  exit 1
fi
tar --sort=name --owner=ada:1000 --group=ada:1000 --mtime=2026-01-01 -cf - . | xz -9e > "$archive"
ls -l "$archive"
