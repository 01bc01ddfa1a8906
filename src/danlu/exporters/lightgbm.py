"""LightGBM's text file; its features are the prepared numbers, then the category codes."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from danlu.core.imports import require_extra
from danlu.models.predictor import Predictor
from danlu.models.tabular.boosting import MODEL_FILE


def write(predictor: Predictor, folder: Path) -> None:
    """Write the trees as LightGBM's text file, as they are kept in the bundle."""
    predictor.options.write_weights(predictor.model, folder)


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
        """Map numeric [batch, numbers] and categories [batch, categories] to logits [batch, outputs]."""
        given = [part.double() for part in (numeric, categories) if part is not None]
        scores = np.asarray(self.booster.predict(torch.cat(given, dim=1).cpu().numpy(), raw_score=True))
        found = torch.from_numpy(scores.reshape(len(scores), -1)).to(given[0].device, torch.float32)
        return nn.functional.pad(found, (1, 0)) if self.outputs == 2 else found
