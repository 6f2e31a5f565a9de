"""Comparing data of a model's lineage with an evaluation set, for the gate: the registry knows no texts."""

from __future__ import annotations

from core.workspace import Workspace
from registry.promotion.contamination import Compare, ComparedSets, Files
from registry.promotion.parameters import load_section


def comparing(workspace: Workspace) -> Compare:
    """Compares training splits with test splits, by the workspace's ``curate.decontamination.rules``."""

    def compare(training: str, learnt: Files, evaluation: str, asked: Files) -> list[ComparedSets]:
        from components.curate.parameters import CurateParameters
        from components.decontamination.overlap import find
        from components.decontamination.sets import EVALUATION, TRAINING, read_files

        parameters = load_section(workspace.root, "curate", CurateParameters)
        found = find(
            read_files(training, learnt, TRAINING.get(training, ())),
            read_files(evaluation, asked, EVALUATION.get(evaluation, ())),
            parameters.decontamination.rules,
        )
        return [ComparedSets(each.training, each.evaluation, each.items, each.overlapping) for each in found.pairs]

    return compare
