"""A policy network for `crs/IcerMacro-v0` that treats all attributes alike."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from agents.blocks import OWN, PER_ATTRIBUTE, PRICE, SUMMARY, places
from agents.sb3.standardise import Standardise


class MacroFeatures(BaseFeaturesExtractor):
    """The summary blocks of a belief observation, standardised, then the numbers of each question,
    as they are: standardising each by itself would hide which question is worth most.

    blocks: where each block of the observation lies, `(start, stop)` by name.
    """

    def __init__(self, observation_space: spaces.Box, blocks: dict[str, tuple[int, int]]) -> None:
        summary, own = (torch.tensor(places(blocks, names)) for names in (SUMMARY, OWN))
        super().__init__(observation_space, len(summary) + len(own))
        self.standardise = Standardise(observation_space)
        self.register_buffer("summary", summary)
        self.register_buffer("own", own)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        scaled = self.standardise(observations)[:, self.summary]
        return torch.cat([scaled, observations[:, self.own]], dim=1)


class _Trunk(nn.Module):
    """Two hidden layers each for actor and critic over the summary; the rest is handed on."""

    def __init__(self, summary: int, own: int, width: int) -> None:
        super().__init__()
        self.size = summary
        self.actor, self.critic = (
            nn.Sequential(nn.Linear(summary, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
            for _ in range(2)
        )
        self.latent_dim_pi = width + own
        self.latent_dim_vf = width

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        hidden = self.actor(features[:, : self.size])
        return torch.cat([hidden, features[:, self.size :]], dim=1)

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.critic(features[:, : self.size])
        return value

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)


class _Head(nn.Module):
    """Logits: two from the trunk, and one for each attribute from one small network for all.

    It sees the attribute's mean and deviation under the belief, what a question about it is worth,
    and a digest of the trunk; a bias of its own lets each attribute differ. The first logit, of
    recommending, begins `lean` times as high as the best question falls short of `PRICE`.
    """

    def __init__(self, width: int, attributes: int, lean: float, digest: int = 8) -> None:
        super().__init__()
        self.lean = lean
        self.width, self.attributes = width, attributes
        self.direct = nn.Linear(width, 2)
        self.digest = nn.Linear(width, digest)
        self.shared = nn.Sequential(nn.Linear(digest + 4, 32), nn.Tanh(), nn.Linear(32, 1))
        self.bias = nn.Parameter(torch.zeros(attributes))
        for layer in (self.direct, self.shared[-1]):
            nn.init.orthogonal_(layer.weight, 0.01)
            nn.init.zeros_(layer.bias)
        # from the start a question is the likelier to be asked the more it is worth
        self.sharpness = nn.Parameter(torch.tensor(50.0))

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        hidden, own = latent[:, : self.width], latent[:, self.width :]
        about, item_value = own[:, :-1], own[:, -1:]
        mean, deviation, value = about.unflatten(1, (len(PER_ATTRIBUTE), self.attributes)).unbind(1)
        digest = self.digest(hidden)[:, None].expand(-1, self.attributes, -1)
        best = torch.maximum(item_value, value.amax(1, keepdim=True))
        sharp = self.sharpness * (value - best)
        each = torch.stack([mean, deviation, value, sharp], dim=2)
        scores = self.shared(torch.cat([digest, each], dim=2)).squeeze(2) + sharp + self.bias
        recommends, asks = self.direct(hidden).split(1, dim=1)
        recommends = recommends + self.lean * (PRICE - best)
        asks = asks + self.sharpness * (item_value - best)
        return torch.cat([recommends, asks, scores], dim=1)


class _AttributeLayers:
    """Gives SB3's actor-critic policies the trunk and the head; actions are `MacroActions`'s."""

    def __init__(self, *args: Any, width: int = 64, lean: float = 0.0, **kwargs: Any) -> None:
        self.width, self.lean = width, lean
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self: Any) -> None:
        own = len(PER_ATTRIBUTE) * (int(self.action_space.n) - 2) + 1
        self.mlp_extractor = _Trunk(self.features_dim - own, own, self.width)

    def _build(self: Any, lr_schedule: Any) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        self.action_net = _Head(self.width, int(self.action_space.n) - 2, self.lean)
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )


class AttributePolicy(_AttributeLayers, ActorCriticPolicy):
    """For PPO."""


class MaskableAttributePolicy(_AttributeLayers, MaskableActorCriticPolicy):
    """For MaskablePPO."""
