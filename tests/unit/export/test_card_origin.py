"""The card names the origin and the licence of a base that a run took as it is."""

from types import SimpleNamespace

from deploy.export.card import base_license, base_origin, hub_id
from registry.lineage.receipts import _origins
from registry.lineage.trace import ArtifactNode, Trace

POINTER = """
outs: [{md5: aa.dir, path: parent}]
meta: {init: owner/name, source: owner/name@c0ffee, digest: aa.dir, license: MIT}
"""


def test_the_origin_of_a_base_with_the_digest_of_its_parent(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/parent.dvc").write_text(POINTER)
    origins = _origins(tmp_path)
    assert origins == {("models/parent", "aa.dir"): "owner/name@c0ffee (licence MIT)"}
    parent = ArtifactNode("model", "models/parent", "md5", "aa.dir", 1, 1, origin=origins["models/parent", "aa.dir"])
    base = ArtifactNode("model", "models/parent", "md5", "aa.dir", 1, 1)
    base.made_by = SimpleNamespace(id=1, stage="pretrain", parameters={}, inputs=[("parent", parent)])
    tree = Trace("base", 1, [], 0.0, [], base)
    assert tree.artifacts() == [base, parent]
    assert base_origin(tree) == "owner/name@c0ffee" and base_license(tree) == "mit"
    assert hub_id("owner/name@c0ffee") == "owner/name"
