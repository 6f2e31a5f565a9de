"""What OpenLineage 2-0-2 asks of a run event, and of the standard facets that Stemma writes, as JSON Schema 2020-12.

Written from the specification at https://openlineage.io/spec/2-0-2/OpenLineage.json and its facets; a test must not
depend on the network.
"""

from __future__ import annotations

TEXT = {"type": "string"}
COUNT = {"type": "integer"}
MOMENT = {"type": "string", "format": "date-time"}
URI = {"type": "string", "format": "uri"}
UUID = {"type": "string", "format": "uuid"}


def _facets(**known: dict) -> dict:
    """Facets: each says who wrote it and where its schema is; the known ones hold what their own schema asks."""
    base = {
        "type": "object",
        "properties": {"_producer": URI, "_schemaURL": URI},
        "required": ["_producer", "_schemaURL"],
    }
    return {
        "type": "object",
        "additionalProperties": base,
        "properties": {name: {"allOf": [base, body]} for name, body in known.items()},
    }


def _object(required: dict, **optional: dict) -> dict:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


NAMED = {"namespace": TEXT, "name": TEXT}
DATASET_FACETS = _facets(
    version=_object({"datasetVersion": TEXT}), datasetType=_object({"datasetType": TEXT}, subType=TEXT)
)
RUN_FACETS = _facets(
    parent=_object({"run": _object({"runId": UUID}), "job": _object(NAMED)}),
    nominalTime=_object({"nominalStartTime": MOMENT}, nominalEndTime=MOMENT),
    errorMessage=_object({"message": TEXT, "programmingLanguage": TEXT}, stackTrace=TEXT),
)
JOB_FACETS = _facets(jobType=_object({"processingType": TEXT, "integration": TEXT}, jobType=TEXT))

RUN_EVENT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        {
            "eventTime": MOMENT,
            "producer": URI,
            "schemaURL": {**URI, "const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
            "run": _object({"runId": UUID}, facets=RUN_FACETS),
            "job": _object(NAMED, facets=JOB_FACETS),
        },
        eventType={"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        inputs={"type": "array", "items": _object(NAMED, facets=DATASET_FACETS, inputFacets=_facets())},
        outputs={
            "type": "array",
            "items": _object(
                NAMED,
                facets=DATASET_FACETS,
                outputFacets=_facets(outputStatistics=_object({}, rowCount=COUNT, size=COUNT, fileCount=COUNT)),
            ),
        },
    ),
}
