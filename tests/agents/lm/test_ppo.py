"""Whose tokens are learnt from, what each is rewarded with, and that a killed run ends the same."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl.experimental.ppo", reason="PPO stands on TRL's")

from safetensors.torch import load_file, save_file  # noqa: E402

from agents import store  # noqa: E402
from agents.lm import credit, models, per_turn, ppo, whole_dialogues  # noqa: E402
from agents.lm.per_turn import Dialogues, Learner, gae, look  # noqa: E402
from agents.lm.rollouts import Played  # noqa: E402
from agents.lm.starting import Start  # noqa: E402
from crs_gym.acts import Recommendation  # noqa: E402
from crs_gym.language.card import card_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

BATCH = 8


@pytest.fixture(scope="module", autouse=True)
def _offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def arguments(taught, world_file):
    def of(out, **changed):
        base = ppo.Args(
            model=str(taught), out=out, world=world_file, seed=3, updates=2, batch_size=BATCH,
            minibatch_size=4, epochs=2, learning_rate=3e-4, max_turn=12, validate_every=1,
            validation_episodes=BATCH, device="cpu", progress=False, temperature=1.0, group=4,
            learn="turns", dense=0.0, illegal_cost=0.0,
        )  # fmt: skip
        return dataclasses.replace(base, **changed)

    return of


@pytest.fixture
def start(arguments, tmp_path):
    return Start.of(arguments(tmp_path / "run"))


@pytest.fixture
def dialogues(start):
    """(what was played, the same as tensors)"""
    played = start.play(range(BATCH), start.model)
    return played, Dialogues.of(played, start.tokenizer.pad_token_id)


@pytest.fixture
def staged(start):
    """(policy, stage, ids (B, 1 + T), which of these are there) with a rollout played."""
    pad = whole_dialogues.own_pad(start.tokenizer, start.model)
    stage = whole_dialogues.Stage(start, len(start.tokenizer), pad, at_once=3)
    policy = whole_dialogues.Policy(start.model, stage)
    queries = torch.arange(BATCH)[:, None] + stage.offset
    with torch.no_grad():
        made = policy.generate(queries, type("Config", (), {"temperature": 1.0}))
    ids = made.sequences
    return policy, stage, ids, torch.stack(made.scores, 1)


def _own_logprobs(played):
    return [[p for p, own in zip(one.logprobs, one.own, strict=True) if own] for one in played]


# turns


def test_logprobs_are_those_that_were_drawn_with(start, dialogues):
    played, tensors = dialogues
    logprobs, values = look(start.model, tensors, 1.0)
    assert values is None
    for i, drawn in enumerate(_own_logprobs(played)):
        assert logprobs[i, : len(drawn)].tolist() == pytest.approx(drawn, abs=1e-4)
        assert not logprobs[i, len(drawn) :].any()


def test_logprobs_of_a_minibatch_are_those_of_the_batch(start, dialogues):
    _, tensors = dialogues
    rows = torch.tensor([5, 2])
    part = tensors[rows]
    whole, _ = look(start.model, tensors, 0.7)
    some, _ = look(start.model, part, 0.7)
    torch.testing.assert_close(some, whole[rows, : some.shape[1]], atol=1e-5, rtol=0)
    assert part.ids.shape[1] == part.seen.sum(1).max()


def test_tokens_rewards_and_ends_are_put_in_their_places(dialogues):
    played, tensors = dialogues
    for i, one in enumerate(played):
        own = [token for token, mine in zip(one.ids, one.own, strict=True) if mine]
        assert tensors.tokens[i, : len(own)].tolist() == own
        assert tensors.own[i].sum() == len(own)
        places = tensors.ends[i].nonzero().flatten().tolist()
        assert [own[p] for p in places] == [one.ids[end] for end in one.ends]
        assert tensors.rewards[i, places].tolist() == pytest.approx(one.rewards)
        assert tensors.rewards[i].sum() == pytest.approx(one.total, abs=1e-5)
        assert [one.own[int(p) + 1] for p in tensors.before[i].nonzero()] == [True] * len(own)


def test_a_reward_of_each_turn_lies_at_its_last_own_token():
    one = Played(
        [1, 2, 5, 6, 7, 8, 5, 7], [False, False, True, True, False, False, True, True], [0.0] * 8,
        ends=[3, 7], rewards=[-0.1, 0.9],
    )  # fmt: skip
    made = Dialogues.of([one], 0)
    assert made.rewards.tolist() == [pytest.approx([0, -0.1, 0, 0.9])]
    assert made.ends.tolist() == [[False, True, False, True]]
    assert made.before.nonzero()[:, 1].tolist() == [1, 2, 5, 6]


def test_who_said_nothing_is_a_row_without_tokens(dialogues):
    played, tensors = dialogues
    silent = Played([], [], [], rewards=[])
    made = Dialogues.of([*played[1:], silent], 0, group=4)
    assert not made.own[-1].any()
    assert not made.ends[-1].any()
    assert not made.rewards[-1].any()
    assert made.own[:-1].sum() == tensors.own[1:].sum()
    nobody = Dialogues.of([silent] * 4, 0, group=4)
    assert nobody.own.shape == (4, 1)
    assert not nobody.own.any()


def test_nothing_is_learnt_where_nothing_was_said(arguments, tmp_path, monkeypatch):
    learner = Learner(Start.of(arguments(tmp_path / "run")), arguments(tmp_path / "run"))
    played = learner.play(0)
    before = {name: p.clone() for name, p in learner.policy.named_parameters()}
    silent = [dataclasses.replace(one, ids=[], own=[], logprobs=[], ends=[], rewards=[])
              for one in played]  # fmt: skip
    monkeypatch.setattr(Learner, "play", lambda self, update: silent)
    figures = learner.update(0)
    assert figures["grad_norm"] == 0
    assert all(np.isfinite(list(figures.values())))
    assert all(torch.equal(before[name], p) for name, p in learner.policy.named_parameters())


def test_only_own_tokens_have_a_gradient(start, dialogues):
    _, tensors = dialogues
    embeddings = start.model.get_input_embeddings().weight
    nothing = tensors._replace(
        before=torch.zeros_like(tensors.before), own=torch.zeros_like(tensors.own)
    )
    logprobs, _ = look(start.model, nothing, 1.0)
    (logprobs.sum() + 0 * embeddings.sum()).backward()
    assert all(not p.grad.any() for p in start.model.parameters() if p.grad is not None)
    logprobs, _ = look(start.model, tensors, 1.0)
    logprobs.sum().backward()
    assert embeddings.grad.norm() > 0


def test_advantages_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    ends = np.array([[0, 1, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0]], bool)
    there = np.array([[1] * 6, [1] * 3 + [0] * 3], bool)
    rewards, values = rng.normal(size=(2, 2, 6)) * there
    found = gae(*map(torch.from_numpy, (rewards, values, ends)), 0.6)
    for row in range(2):
        length = there[row].sum()
        for t in range(length):
            # the sum of all later errors, each weighed by the turns that end before it
            expected, weight = 0.0, 1.0
            for s in range(t, length):
                following = values[row, s + 1] if s + 1 < length else 0.0
                expected += weight * (rewards[row, s] + following - values[row, s])
                weight *= 0.6 if ends[row, s] else 1.0
            assert float(found[row, t]) == pytest.approx(expected)


def test_an_update_begins_where_the_rollout_ended(arguments, tmp_path):
    args = arguments(tmp_path / "run", epochs=1, minibatch_size=BATCH, learning_rate=1e-9)
    learner = per_turn.Learner(Start.of(args), args)
    found = learner.update(0)
    assert found["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert found["kl"] == pytest.approx(0, abs=1e-6)
    assert found["clipped"] == 0
    assert found["steps"] == 1


def test_the_conversations_of_a_group_have_one_user_and_one_level(start):
    played = start.play(range(BATCH, 2 * BATCH), start.model)
    assert len({one.user_id for one in played[:4]}) == len({one.user_id for one in played[4:]}) == 1
    assert len({tuple(one.ids) for one in played}) > 2
    made = Dialogues.of(played, 0, group=4)
    levels = credit.turns_level([one.rewards for one in played], 4)
    for i, one in enumerate(played):
        turns = np.repeat(
            np.arange(len(one.ends)), np.diff([-1, *np.cumsum(one.own)[one.ends] - 1])
        )
        assert made.levels[i, : len(turns)].tolist() == pytest.approx(levels[i][turns])
        assert not made.levels[i, len(turns) :].any()


def test_what_an_easy_user_gives_to_all_changes_no_advantage(arguments, tmp_path):
    args = arguments(tmp_path / "run", kl_coef=0.0)
    learner = per_turn.Learner(Start.of(args), args)
    made = Dialogues.of(learner.play(0), 0, group=4)
    bonus = torch.tensor([0.0] * 4 + [5.0] * 4)[:, None]
    last = made.ends & (made.ends.cumsum(1) == made.ends.sum(1, keepdim=True))
    easier = made._replace(
        levels=made.levels + bonus * made.own, rewards=made.rewards + bonus * last
    )
    advantages = [learner._assess(x)[0].advantages for x in (made, easier)]
    torch.testing.assert_close(*advantages, atol=1e-4, rtol=0)


def test_what_is_illegal_costs_and_what_comes_near_counts_while_training(arguments, tmp_path):
    start = Start.of(arguments(tmp_path / "run", dense=2.0, illegal_cost=0.5))
    played = start.play(range(BATCH), start.model)
    legal = [e.legal for one in played for e in one.exchanges]
    assert 0 < np.mean(legal) < 1
    made = Dialogues.of(played, 0, 4, decay=0.0)
    for one, row, bonus in zip(played, made.rewards, made.bonus, strict=True):
        charged = 0.5 * sum(not e.legal for e in one.exchanges)
        assert row.sum() == pytest.approx(one.total - charged, abs=1e-5)
        there = [2 * e.near for e in one.exchanges if isinstance(e.act, Recommendation)]
        near = np.mean(there) if there else 0.0
        assert one.earned == pytest.approx(one.total - charged + near, abs=1e-5)
        assert len(set(bonus[: sum(one.own)].tolist())) <= len(one.ends)
    assert made.bonus.any()
    rollout, _ = per_turn.Learner(start, start.args)._assess(made)
    plain, _ = per_turn.Learner(start, start.args)._assess(
        made._replace(bonus=torch.zeros_like(made.bonus))
    )
    assert not torch.allclose(rollout.advantages, plain.advantages)
    assert torch.equal(rollout.returns, plain.returns)


def test_acts_alone_are_learnt_from_if_so_asked(arguments, tmp_path):
    start = Start.of(arguments(tmp_path / "run", learn="acts"))
    played = start.play(range(BATCH), start.model)
    made = Dialogues.of(played, 0)
    for i, one in enumerate(played):
        acts = start.chat.without_words(one.ids, one.own)
        for end in one.ends:
            acts[end] = True
        places = (made.before[i].nonzero().flatten() + 1).tolist()
        assert places == np.flatnonzero(acts).tolist()
        assert made.rewards[i].sum() == pytest.approx(one.total, abs=1e-5)


@pytest.mark.parametrize("micro", [1, 3])
def test_a_step_is_the_same_however_much_is_computed_at_a_time(arguments, tmp_path, micro):
    after = []
    for size in (BATCH, micro):
        args = arguments(tmp_path / str(size), micro_batch=size)
        learner = per_turn.Learner(Start.of(args), args)
        dialogues = Dialogues.of(learner.play(0), 0, 4)
        rollout, _ = learner._assess(dialogues)
        figures = learner._step(dialogues, rollout, torch.tensor([6, 1, 3, 0, 7]), False)
        after.append((learner.whole.state_dict(), figures))
    assert after[0][1] == pytest.approx(after[1][1], abs=1e-4)
    for name, whole in after[0][0].items():
        torch.testing.assert_close(after[1][0][name], whole, atol=2e-5, rtol=0)


def test_a_warm_up_leaves_the_policy_as_it_is(arguments, tmp_path):
    args = arguments(tmp_path / "run", value_warmup=1, kl_coef=0.0)
    learner = per_turn.Learner(Start.of(args), args)
    before = {k: v.clone() for k, v in learner.policy.state_dict().items()}
    assert learner.update(0)["kl"] == 0
    assert all(torch.equal(v, before[k]) for k, v in learner.policy.state_dict().items())
    assert learner.whole.v_head.summary.weight.any()
    learner.update(1)
    assert not all(torch.equal(v, before[k]) for k, v in learner.policy.state_dict().items())


# dialogues


def test_a_response_is_what_the_recommender_said(staged):
    _, stage, ids, scores = staged
    responses = ids[:, 1:]
    logprobs = torch.log_softmax(scores, -1).gather(-1, responses[..., None])[..., 0]
    assert torch.isfinite(scores).all()
    for i, one in enumerate(stage.played):
        said = [token for token, own in zip(one.ids, one.own, strict=True) if own]
        assert responses[i, : len(said)].tolist() == said
        assert (responses[i, len(said) :] == stage.pad).all()
        (drawn,) = _own_logprobs([one])
        assert logprobs[i, : len(said)].tolist() == pytest.approx(drawn, abs=1e-4)
        assert not logprobs[i, len(said) :].any()
    assert (responses[:, -1] == stage.pad).all()


def test_gradients_are_those_of_the_recommenders_tokens(staged, start):
    policy, stage, ids, _ = staged
    there = ids[:, 1:] != stage.pad

    def gradients(logprobs):
        start.model.zero_grad()
        logprobs.sum().backward()
        return [p.grad.clone() for p in start.model.parameters()]

    def logprobs():
        logits = policy(ids).logits[:, :-1]
        return torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]

    apart, _ = look(start.model, Dialogues.of(stage.played, stage.pad), 1.0)
    known = gradients(apart)
    for mine, theirs in zip(gradients(logprobs()[there]), known, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert not any(grad.any() for grad in gradients(logprobs()[~there]))


def test_dialogues_are_found_by_their_numbers_and_padding_is_never_written(staged):
    policy, stage, ids, scores = staged
    assert scores[..., stage.pad][ids[:, 1:] != stage.pad].max() <= -1e8
    rows = torch.tensor([6, 1, 3])
    critic = whole_dialogues.Critic(whole_dialogues._decoder(policy.causal), stage)
    whole, some = (critic.backbone(input_ids=x).hidden_states[-1] for x in (ids, ids[rows]))
    assert whole.shape[:2] == ids.shape
    torch.testing.assert_close(some, whole[rows])
    torch.testing.assert_close(policy(ids[rows]).logits, policy(ids).logits[rows])


def test_values_are_before_each_token(staged):
    policy, stage, ids, _ = staged
    decoder = whole_dialogues._decoder(policy.causal)
    hidden = whole_dialogues.Critic(decoder, stage).backbone(input_ids=ids).hidden_states[-1]
    for i, one in enumerate(stage.played):
        alone = decoder(input_ids=torch.tensor([one.ids])).last_hidden_state[0]
        before = [place - 1 for place, own in enumerate(one.own) if own]
        torch.testing.assert_close(hidden[i, : len(before)], alone[before], atol=1e-4, rtol=1e-4)
        assert not hidden[i, len(before) :].any()


def test_the_reward_is_the_return_beyond_the_groups_at_every_token(staged):
    _, stage, ids, _ = staged
    reward = whole_dialogues.Reward(stage)
    backbone = getattr(reward, reward.base_model_prefix)
    scores = reward.score(backbone(input_ids=ids).hidden_states[-1])[..., 0]
    returns = [one.total for one in stage.played]
    beyond = torch.tensor(returns - credit.others_mean(returns, 4), dtype=torch.float32)
    torch.testing.assert_close(scores, beyond[:, None].expand(ids.shape))


def test_a_model_whose_padding_ends_turns_gets_another(start):
    start.tokenizer.pad_token = start.tokenizer.eos_token
    before = start.model.get_input_embeddings().num_embeddings
    pad = whole_dialogues.own_pad(start.tokenizer, start.model)
    assert pad != start.chat.end
    assert start.model.get_input_embeddings().num_embeddings == before + 1


# runs


def _stop(patch, update):
    """Training breaks off when a rollout of `update` begins."""
    play = Start.play

    def until(self, scenarios, model):
        if scenarios[0] >= update * BATCH:
            raise KeyboardInterrupt
        return play(self, scenarios, model)

    patch.setattr(Start, "play", until)


def test_a_model_knows_the_temperature_that_it_learnt_at(arguments, tmp_path, taught):
    start = Start.of(arguments(tmp_path / "run", temperature=0.5))
    assert start.learnt_card == dataclasses.replace(card_of(taught), temperature=0.5)


@pytest.mark.parametrize(
    ("variant", "taught_users"), [("turns", False), ("turns", True), ("dialogues", False)]
)
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    arguments, tmp_path, monkeypatch, variant, taught_users, taught_user
):
    user = str(taught_user) if taught_users else "icer"
    whole, killed = (
        arguments(tmp_path / name, variant=variant, user=user) for name in ("whole", "killed")
    )
    ppo.train(whole)
    with monkeypatch.context() as patch:
        _stop(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            ppo.train(killed)
    assert [p.stem for p in store.checkpoints(killed.out)] == ["000001"]
    again = dataclasses.replace(killed, resume=True)
    ppo.train(again)
    one, two = (load_file(a.out / "final" / "model.safetensors") for a in (whole, killed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    curves = [json.loads((a.out / "curve.json").read_text()) for a in (whole, killed)]
    for point in (*curves[0], *curves[1]):
        del point["seconds"]
    assert curves[0] == curves[1]
    assert [point["update"] for point in curves[0]] == [0, 1, 2]
    # a run that is finished is left alone
    changed = (killed.out / "final" / "model.safetensors").stat().st_mtime_ns
    assert ppo.train(again) == killed.out / "final"
    assert (killed.out / "final" / "model.safetensors").stat().st_mtime_ns == changed


def test_new_matrices_follow_from_the_seed(arguments, tmp_path):
    pytest.importorskip("peft")

    def drawn(seed):
        model = Start.of(arguments(tmp_path / "run", lora=4, seed=seed)).model
        return torch.cat([p.flatten() for n, p in model.named_parameters() if "lora_A" in n])

    first = drawn(0)
    torch.rand(1)  # whatever was drawn before
    assert torch.equal(first, drawn(0))
    assert not torch.equal(first, drawn(1))


def test_lora_is_merged_in_the_end(arguments, tmp_path):
    pytest.importorskip("peft")
    args = arguments(tmp_path / "run", lora=4, updates=1, learning_rate=1e-2, validation_episodes=0)
    start = Start.of(args)
    model = per_turn.train(start, args)
    ids = torch.tensor([[1, 2, 3, 4]])
    tuned = model(ids).logits.detach()
    with model.disable_adapter():
        assert not torch.allclose(tuned, model(ids).logits)
    torch.testing.assert_close(model.merge_and_unload()(ids).logits, tuned, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"variant": "dialogues", "learning_rate": 2e-3}, "clips no gradients"),
        ({"variant": "dialogues", "kl_coef": 0.0}, "kl_coef above 0"),
        ({"batch_size": 10}, "not a multiple of group 4"),
        ({"batch_size": 12, "minibatch_size": 8}, "not a multiple of 8"),
        ({"updates": 0}, "updates must be at least 1"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"world": "films"}, "knows the films of world"),
        ({"device": "cuda:9"}, "no cuda:9 here"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, tmp_path, changed, says):
    args = arguments(tmp_path / "run", **changed)
    with pytest.raises(ValueError, match=says):
        ppo.train(args)
    assert not args.out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["turns", "dialogues"])
def test_returns_rise(arguments, tmp_path, variant):
    args = arguments(
        tmp_path / "run", variant=variant, updates=30, batch_size=32, epochs=4, validate_every=30,
        validation_episodes=256, learning_rate=3e-4 if variant == "dialogues" else 1e-3,
        adam_eps=1e-5,
    )  # fmt: skip
    ppo.train(args)
    before, after = json.loads((args.out / "curve.json").read_text())
    assert after["reward"] > before["reward"] + 0.1


def test_a_run_does_not_go_on_from_a_model_that_was_trained_anew(
    arguments, tmp_path, monkeypatch, taught
):
    shutil.copytree(taught, tmp_path / "start")
    killed = arguments(tmp_path / "run", model=str(tmp_path / "start"))
    with monkeypatch.context() as patch:
        _stop(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            ppo.train(killed)
    kept = json.loads((killed.out / "config.json").read_text())["started_from"]
    assert kept == models.name_of(tmp_path / "start")
    weights = tmp_path / "start" / "model.safetensors"
    as_it_was = weights.read_bytes()
    changed = {name: weight + 1e-3 for name, weight in load_file(weights).items()}
    save_file(changed, weights, {"format": "pt"})
    again = dataclasses.replace(killed, resume=True)
    with pytest.raises(ValueError, match="started_from was 'start@"):
        ppo.train(again)
    weights.write_bytes(as_it_was)
    ppo.train(again)
    found = models.identity(killed.out)
    assert found == {"model": models.name_of(killed.out / "final"), "started_from": kept}
