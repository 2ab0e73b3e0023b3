"""TRL's GRPOTrainer takes the tools as they are."""

import pytest

from crs_gym.envs.tools import RecommenderTools, tools

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("datasets")

pytestmark = pytest.mark.slow

CALLS = (
    '<tool_call>\n{"name": "ask_item", "arguments": {"titles": ["Heat (1995)", "Up (2009)"]}}\n'
    "</tool_call><|im_end|>",
    '<tool_call>\n{"name": "recommend", "arguments": {"titles": ["no such film"]}}\n'
    "</tool_call><|im_end|>",
    '<tool_call>\n{"name": "recommend", "arguments": {"titles": ["%s"]}}\n</tool_call><|im_end|>',
    "It was a pleasure.<|im_end|>",
)


def scripted(tokenizer, films):
    """A tiny model that says what is in `CALLS`, another film in every row."""
    from agents.lm.tiny import build_model

    model = build_model(tokenizer, width=24, layers=1, heads=2)
    model.config.max_position_embeddings = 8192

    def generate(input_ids, **_):
        rows = []
        for row, ids in enumerate(input_ids):
            turn = tokenizer.decode(ids).count("<tool_response>")
            call = CALLS[turn] % films.label(row) if turn == 2 else CALLS[turn]
            rows.append(torch.tensor(tokenizer(call, add_special_tokens=False)["input_ids"]))
        ends = torch.nn.utils.rnn.pad_sequence(rows, True, tokenizer.pad_token_id)
        return torch.cat([input_ids, ends], dim=1)

    model.generate = generate
    return model


def test_a_training_step(films, tmp_path, monkeypatch):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer
    from trl.chat_template_utils import qwen2_5_chat_template

    from agents.lm.tiny import build_tokenizer

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    torch.set_num_threads(1)
    tokenizer = build_tokenizer(films, subwords=600)
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    tokenizer.chat_template = qwen2_5_chat_template
    rows = [
        {"prompt": [{"role": "user", "content": "Recommend a film. "}], "seed": seed}
        for seed in (3, 4)
    ]
    heard = []

    def listen(completions, seed, **_):
        heard.extend(zip(completions, seed, strict=True))
        return [0.0] * len(seed)

    easy = {"world": films, "user_model": {"null_z": -3.0}}  # nearly all is accepted
    trainer = GRPOTrainer(
        model=scripted(tokenizer, films),
        processing_class=tokenizer,
        environment_factory=tools(**easy),
        reward_funcs=listen,
        train_dataset=Dataset.from_list(rows),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=1500,
            max_steps=1,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
        ),
    )
    assert {tool.__name__ for tool in trainer.tools} == {"recommend", "ask_item", "ask_attribute"}
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()

    # each rollout asked, was not understood, recommended and stopped; two met the same user
    assert sorted(seed for _, seed in heard) == [3, 3, 4, 4]
    rewards = []
    for row, (completion, seed) in enumerate(heard):
        alone = RecommenderTools(**easy)
        alone.reset(seed=seed)
        answers = [
            alone.ask_item(["Heat (1995)", "Up (2009)"]),
            alone.recommend(["no such film"]),
            alone.recommend([films.label(row)]),
        ]
        assert [m["content"] for m in completion if m["role"] == "tool"] == answers
        assert "no film 'no such film'" in answers[1]
        assert completion[-1]["content"] == "It was a pleasure."
        rewards.append(alone.get_reward())
    log = trainer.state.log_history[0]
    assert log["tools/call_frequency"] == 3
    assert log["tools/failure_frequency"] == 0
    assert log["rewards/RecommenderTools/mean"] == pytest.approx(sum(rewards) / 4, abs=1e-6)
    assert len(set(rewards)) == 4
    after = trainer.model.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
