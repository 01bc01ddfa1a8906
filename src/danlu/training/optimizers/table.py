"""The table of optimizers: the usual ones first, then those for less memory or a purpose of their own."""

from danlu.core.component import Component
from danlu.training.optimizers.others import AdamW8bit, Lion, Muon, ScheduleFreeAdamW
from danlu.training.optimizers.torchs import SGD, Adafactor, Adagrad, Adam, AdamW, RMSprop

OPTIMIZERS: dict[str, type[Component]] = {
    "adamw": AdamW,
    "adam": Adam,
    "sgd": SGD,
    "muon": Muon,
    "schedule-free-adamw": ScheduleFreeAdamW,
    "lion": Lion,
    "adafactor": Adafactor,
    "adamw-8bit": AdamW8bit,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}
