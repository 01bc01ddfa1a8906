"""LightGBM's text file; its features are the prepared numbers, then the category codes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.artifacts.files import write_bytes
from danlu.core.imports import require_extra
from danlu.models.answer_folding import Affine, Placement, Step, answer_steps, place_steps
from danlu.models.predictor import Predictor
from danlu.models.tabular.boosting import BoostedTrees
from danlu.models.tabular.tree_arrays import MODEL_FILE


def write(predictor: Predictor, folder: Path) -> Placement:
    """Write the trees as LightGBM's text file, whose Booster answers in the target's units.

    Raises:
        MissingExtra: LightGBM is not installed.
    """
    require_extra("boosting", "to write LightGBM's file,")
    import lightgbm

    assert isinstance(predictor.model, BoostedTrees)
    steps = answer_steps(predictor.target)
    folded = steps.affine  # sums of leaves are in float64, which keeps the digits of any offset
    booster: Any = lightgbm.Booster(model_str=predictor.model.text)
    if folded is not None:
        _scale_and_shift(booster, folded)
    write_bytes(folder / MODEL_FILE, booster.model_to_string().encode())  # its own writer has errors of its own
    left = (Step("preparation", predictor.preprocessor.model_dump(mode="json")),)
    return place_steps(steps, folded, True, (), left)


def _scale_and_shift(booster: Any, affine: Affine) -> None:
    """Scale every leaf; add the offset to those of each output's first tree."""
    said = booster.dump_model()
    per_round = said["num_tree_per_iteration"]
    for tree, described in enumerate(said["tree_info"]):
        output = tree % per_round
        offset = affine.offset[output] if tree < per_round else 0.0
        for leaf in range(described["num_leaves"]):
            value = booster.get_leaf_output(tree, leaf)
            booster.set_leaf_output(tree, leaf, value * affine.scale[output] + offset)


def read(predictor: Predictor, folder: Path) -> nn.Module:
    """Load the text file by LightGBM itself.

    Raises:
        MissingExtra: LightGBM is not installed.
    """
    require_extra("boosting", "to check the exported model,")
    return LightGBMModel(folder / MODEL_FILE, predictor.target.outputs)


class LightGBMModel(nn.Module):
    """Predict with LightGBM itself from its text file."""

    def __init__(self, file: Path, outputs: int) -> None:
        import lightgbm

        super().__init__()
        self.booster, self.outputs = lightgbm.Booster(model_file=file), outputs

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Map numeric [batch, numbers] and categories [batch, categories] to logits [batch, outputs] float64."""
        given = [part.double() for part in (numeric, categories) if part is not None]
        scores = np.asarray(self.booster.predict(torch.cat(given, dim=1).cpu().numpy(), raw_score=True))
        found = torch.from_numpy(scores.reshape(len(scores), -1)).to(given[0].device)
        return nn.functional.pad(found, (1, 0)) if self.outputs == 2 else found
