"""The samplers by name."""

from danlu.core.component import Component
from danlu.tuning.bayesian import Bayesian
from danlu.tuning.genetic import Genetic
from danlu.tuning.sampler import Grid, RandomSearch

SAMPLERS: dict[str, type[Component]] = {
    "bayesian": Bayesian,
    "random": RandomSearch,
    "grid": Grid,
    "genetic": Genetic,
}
