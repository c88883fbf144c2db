"""Rules without training that a network has to beat."""

from recurra.recsys.baselines.ease import Ease
from recurra.recsys.baselines.item_knn import ItemKnn
from recurra.recsys.baselines.markov import Markov
from recurra.recsys.baselines.popularity import Popularity
from recurra.recsys.baselines.recent_popularity import RecentPopularity

__all__ = [
    "BASELINES",
    "Baseline",
    "Ease",
    "ItemKnn",
    "Markov",
    "Popularity",
    "RecentPopularity",
]

Baseline = Popularity | RecentPopularity | Markov | ItemKnn | Ease
BASELINES: dict[str, type[Baseline]] = {
    rule.name: rule for rule in (Popularity, RecentPopularity, Markov, ItemKnn, Ease)
}
