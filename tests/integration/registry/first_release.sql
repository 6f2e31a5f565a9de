-- What a workspace of the first release held: a run of two stages, a model of two versions, one promoted and one
-- rejected. Written for the first schema, by its own column names; never to be changed with the models.
INSERT INTO artifacts (id, type, name, hash_algo, digest, size, files, uri, created) VALUES
 (1, 'raw', 'data/raw', 'md5', 'aa.dir', 10, 1, 'dvc:data/raw', 1.0),
 (2, 'dataset', 'data/corpus', 'md5', 'bb.dir', 20, 2, 'dvc:data/corpus', 2.0),
 (3, 'model', 'models/base', 'md5', 'cc.dir', 30, 3, 'dvc:models/base', 3.0),
 (4, 'model', 'models/base', 'md5', 'dd.dir', 30, 3, 'dvc:models/base', 4.0),
 (5, 'verdict', 'gate', 'sha256', 'ee', 5, NULL, NULL, 5.0);
INSERT INTO components (id, name, version, spec_digest) VALUES (1, 'curate', '1.0.0', 'c'), (2, 'pretrain', '1.0.0', 'p');
INSERT INTO executions (id, key, component_id, stage, state, fingerprint, original_id, parameters, non_default,
 environment, warnings, git_commit, git_dirty, seed, device, processes, tokens, gpu_seconds, started, ended, seconds)
VALUES
 (1, 'k1', 1, 'curate', 'COMPLETE', 'f1', NULL, '{"keep": 10}', '{}', '{}', '[]', 'abc', FALSE, 1, 'cpu', 1, 0, 0, 1, 2, 1),
 (2, 'k2', 2, 'pretrain', 'COMPLETE', 'f2', NULL, '{}', '{}', '{}', '["slow"]', 'abc', TRUE, 1, 'cpu', 1, 9, 0, 2, 3, 1),
 (3, 'k3', 2, 'pretrain', 'COMPLETE', 'f3', NULL, '{}', '{"a": 1}', '{}', '[]', 'abc', TRUE, 1, 'cpu', 1, 9, 0, 3, 4, 1),
 (4, 'k4', 1, 'curate', 'CACHED', 'f1', 1, '{"keep": 10}', '{}', '{}', '[]', 'abc', FALSE, 1, NULL, NULL, 0, 0, NULL, NULL, 0);
INSERT INTO events (id, execution_id, artifact_id, direction, name, role, path) VALUES
 (1, 1, 1, 'INPUT', 'raw', 'raw', 'data/raw'), (2, 1, 2, 'OUTPUT', 'corpus', 'corpus', 'data/corpus'),
 (3, 2, 2, 'INPUT', 'corpus', 'corpus', 'data/corpus'), (4, 2, 3, 'OUTPUT', 'model', 'model', 'models/base'),
 (5, 3, 2, 'INPUT', 'corpus', 'corpus', 'data/corpus'), (6, 3, 4, 'OUTPUT', 'model', 'model', 'models/base');
INSERT INTO contexts (id, type, name, mlflow_run_id, created, summary, mirrored) VALUES
 (1, 'pipeline_run', 'first', NULL, 1.0, NULL, TRUE), (2, 'pipeline_run', 'second', NULL, 2.0, '{"metrics": {}}', FALSE);
INSERT INTO associations (context_id, execution_id) VALUES (1, 1), (1, 2), (2, 3), (2, 4);
INSERT INTO snapshots (id, context_id, ref, commit_sha, created) VALUES (1, 1, 'refs/stemma/runs/first', '123abc', 1.0);
INSERT INTO registered_models (id, name, created) VALUES (1, 'base', 1.0);
INSERT INTO model_versions (id, model_id, version, artifact_id, execution_id, created, mlflow_version) VALUES
 (1, 1, 1, 3, 2, 3.0, '1'), (2, 1, 2, 4, 3, 4.0, NULL);
INSERT INTO metrics (id, artifact_id, eval_set_artifact_id, execution_id, name, value, stderr, n, higher_is_better,
 baselines, headline) VALUES (1, 3, 2, 2, 'loss', 1.5, 0.1, 10, FALSE, '{"unigram": 3.0}', TRUE);
INSERT INTO promotions (id, model_id, alias, from_version_id, to_version_id, action, forced, passed, gate_artifact_id,
 actor, reason, time, previous_hash, hash) VALUES
 (1, 1, 'champion', NULL, 1, 'promote', FALSE, TRUE, 5, 'Ada', 'the first', '2026-01-01T00:00:00+00:00', '0', '1'),
 (2, 1, 'champion', 1, 2, 'reject', FALSE, FALSE, 5, 'Ada', 'worse', '2026-01-02T00:00:00+00:00', '1', '2');
INSERT INTO alias_mirrors (model_id, alias, promotion_id) VALUES (1, 'champion', 1);
INSERT INTO signatures (id, version_id, method, key_id, public_key, bundle, created) VALUES
 (1, 1, 'key', 'k', 'pem', '{}', 5.0);
