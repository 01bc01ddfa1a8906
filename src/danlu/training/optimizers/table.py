"""The table of optimizers: the most common first, then those that save memory or serve a special purpose."""

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
