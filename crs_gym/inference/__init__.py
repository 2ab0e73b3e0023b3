"""What the recommender believes and asks: posterior over phi_u, queries, recommendations."""

from crs_gym.inference.belief import Inference, Samples
from crs_gym.inference.diagnostics import Diagnosis, InferenceWarning, diagnose
from crs_gym.inference.metropolis import Metropolis
from crs_gym.inference.prior import Prior, population_prior
from crs_gym.inference.prior_samples import PriorSamples

__all__ = [
    "Diagnosis",
    "Inference",
    "InferenceWarning",
    "Metropolis",
    "Prior",
    "PriorSamples",
    "Samples",
    "diagnose",
    "population_prior",
]
