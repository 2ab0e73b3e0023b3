"""What the recommender believes and asks: posterior over phi_u, queries, recommendations."""

from crs_gym.inference.belief import Belief, Inference, PriorSamples
from crs_gym.inference.prior import Prior, population_prior

__all__ = ["Belief", "Inference", "Prior", "PriorSamples", "population_prior"]
