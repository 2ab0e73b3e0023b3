"""Muon and AdamW as one: each of its own parameters, scheduled and saved together."""

import copy

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from agents.lm.optimiser import MuonWithAdamW, orthogonal  # noqa: E402


@pytest.fixture
def model():
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config)


def learn(model, optimiser, steps, scheduler=None):
    ids = torch.arange(24).reshape(2, 12)
    for _ in range(steps):
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if scheduler is not None:
            scheduler.step()


def test_steps_of_matrices_are_orthogonal_and_all_else_is_adamws(model):
    before = copy.deepcopy(dict(model.named_parameters()))
    learn(model, MuonWithAdamW(model, 0.02, 4e-3, 0.0), 1)
    for name, parameter in model.named_parameters():
        step = (before[name] - parameter).detach()
        if parameter.ndim == 2 and "embed" not in name:
            size = torch.linalg.svdvals(step) / (0.02 * 0.2 * max(step.shape) ** 0.5)
            # five steps of Newton-Schulz come near 1, but where a gradient is nearly 0
            assert 0.7 < size.median() < 1.15, name
            assert size.max() < 1.3, name
        else:
            moved = step[step != 0].abs()  # of Adam's first step: the learning rate
            assert moved.median().item() == pytest.approx(4e-3, rel=1e-2), name


def test_each_part_steps_as_it_would_alone(model):
    alone = copy.deepcopy(model)
    learn(model, MuonWithAdamW(model, 0.02, 4e-3, 0.1), 3)
    inner = [p for n, p in alone.named_parameters() if p.ndim == 2 and "embed" not in n]
    outer = [p for n, p in alone.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = torch.optim.Muon(inner, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(outer, lr=4e-3, weight_decay=0.1)
    ids = torch.arange(24).reshape(2, 12)
    for _ in range(3):
        alone(input_ids=ids, labels=ids).loss.backward()
        for part in (muon, adamw):
            part.step()
            part.zero_grad()
    for mine, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        # torch's Muon computes in bfloat16: 8 bits of a step of 0.02 at most
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(5, 8, 8), (3, 6, 20), (3, 20, 6)])
def test_singular_values_are_those_of_the_polynomial_and_vectors_stay(shape):
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(shape, generator=generator, dtype=torch.double)
    found = orthogonal(given, (3.4445, -4.7750, 2.0315), 5, 1e-7)
    u, values, vh = torch.linalg.svd(given, full_matrices=False)
    values = values / values.square().sum(1, keepdim=True).sqrt()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(found, u * values[:, None] @ vh)


def test_a_scheduler_changes_both_before_and_after_a_state_is_loaded(model):
    optimiser = MuonWithAdamW(model, 0.02, 4e-3, 0.0)
    optimiser.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 / (1 + step))
    learn(model, optimiser, 1, scheduler)
    assert [part.param_groups[0]["lr"] for part in optimiser.parts] == [0.01, 2e-3]


def test_what_was_saved_goes_on_as_if_nothing_had_been(model):
    optimiser = MuonWithAdamW(model, 0.02, 4e-3, 0.1)
    learn(model, optimiser, 2)
    other = copy.deepcopy(model)
    again = MuonWithAdamW(other, 1.0, 1.0, 0.0)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    learn(model, optimiser, 2)
    learn(other, again, 2)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_closures_are_refused(model):
    with pytest.raises(ValueError, match="closure"):
        MuonWithAdamW(model, 0.02, 4e-3, 0.0).step(lambda: None)
