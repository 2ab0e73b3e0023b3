"""Standardised observations whose statistics are part of the policy's weights."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


class Standardise(BaseFeaturesExtractor):
    """Observations to mean 0 and variance 1, clipped to [-5, 5], with statistics that are part of
    the policy's weights.
    """

    def __init__(self, observation_space: spaces.Box) -> None:
        size = int(np.prod(observation_space.shape))
        super().__init__(observation_space, size)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(size, dtype=torch.float64))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        # a feature that hardly varied so far must not be blown up when it does
        deviation = self.square.sqrt().clamp_min(1e-3)
        scaled = (observations - self.mean.float()) / deviation.float()
        return scaled.clamp(-5.0, 5.0)

    def update(self, observations: np.ndarray) -> None:
        """Takes in observations (n, D), weighted like all that came before."""
        new = torch.as_tensor(observations, dtype=torch.float64)
        count = self.count + len(new)
        delta = new.mean(0) - self.mean
        share = len(new) / count
        self.square += share * (new.var(0, unbiased=False) - self.square)
        self.square += share * (1 - share) * delta**2
        self.mean += share * delta
        self.count.copy_(count)
