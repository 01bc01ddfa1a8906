"""The registry of balancers that a recipe may name. Imports neither torch nor imbalanced-learn."""

from danlu.data.balance.base import Balancer, NoBalancing
from danlu.data.balance.loss_weights import ClassWeights, Focal, LogitAdjustment
from danlu.data.balance.resampling import Oversample, Undersample, WeightedSampling
from danlu.data.balance.synthetic import (
    Adasyn,
    BorderlineSmote,
    EditedNearestNeighbours,
    Smote,
    SmoteEnn,
    SmoteTomek,
    Tomek,
)

BALANCERS: dict[str, type[Balancer]] = {
    "none": NoBalancing,
    "class-weights": ClassWeights,
    "oversample": Oversample,
    "undersample": Undersample,
    "weighted-sampling": WeightedSampling,
    "smote": Smote,
    "borderline-smote": BorderlineSmote,
    "adasyn": Adasyn,
    "tomek": Tomek,
    "enn": EditedNearestNeighbours,
    "smote-tomek": SmoteTomek,
    "smote-enn": SmoteEnn,
    "focal": Focal,
    "logit-adjustment": LogitAdjustment,
}
