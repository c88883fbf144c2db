"""Rules without training that a network has to beat."""

from recurra.recsys.baselines.markov import Markov
from recurra.recsys.baselines.popularity import Popularity

__all__ = ["Markov", "Popularity"]
