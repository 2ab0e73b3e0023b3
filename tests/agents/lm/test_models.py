"""What holds for a run, and for nothing else; and what LoRA trains."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="transformers is not installed")

from agents.lm import models  # noqa: E402
from agents.lm.args import RunArgs  # noqa: E402
from agents.lm.tiny import build_tokenizer  # noqa: E402
from crs_gym.dialogue import STRUCTURE_TOKENS  # noqa: E402
from crs_gym.language.card import Card  # noqa: E402


def test_a_run_has_its_seed(tmp_path):
    def drawn(seed):
        models.set_up(RunArgs(out=tmp_path, seed=seed, device="cpu"))
        return torch.rand(3).tolist()

    assert drawn(1) == drawn(1) != drawn(2)


def test_denormal_numbers_are_nothing_within_and_there_again_after():
    small = torch.full((64,), 1e-30)

    def product():
        return (small * 1e-10).abs().max().item()

    @models.no_denormals()
    def learn():
        assert product() == 0
        with models.no_denormals():
            assert product() == 0
        assert product() == 0
        raise InterruptedError

    assert product() > 0
    with pytest.raises(InterruptedError):
        learn()
    assert product() > 0


def test_a_run_goes_on_from_the_newest_checkpoint_that_is_whole(tmp_path):
    def state(step, text):
        path = tmp_path / "trainer" / f"checkpoint-{step}" / "trainer_state.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)

    assert models.newest_checkpoint(tmp_path) is None
    state(10, '{"global_step": 1')
    with pytest.warns(UserWarning, match="checkpoint-10.*not whole"):
        assert models.newest_checkpoint(tmp_path) is None
    state(8, '{"global_step": 8}')
    state(9, '{"global_step": 9}')
    (tmp_path / "trainer" / "checkpoint-11").mkdir()
    with pytest.warns(UserWarning, match="checkpoint-10.*not whole"):
        assert models.newest_checkpoint(tmp_path) == str(tmp_path / "trainer" / "checkpoint-9")


def _decoder(kind, tokenizer, tied):
    import transformers

    given = {
        "vocab_size": len(tokenizer), "tie_word_embeddings": tied,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, **given
    )
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama"])
def test_tags_are_learnt_beside_lora_whatever_embeddings_are_called(
    kind, tied, plane_world, tmp_path
):
    peft = pytest.importorskip("peft")
    tokenizer = build_tokenizer(plane_world, subwords=60)
    model = _decoder(kind, tokenizer, tied)
    tags = tokenizer.convert_tokens_to_ids(list(STRUCTURE_TOKENS))

    def ends(of):
        both = of.get_input_embeddings(), of.get_output_embeddings()
        return [end.weight.detach().numpy().copy()[tags] for end in both]

    before = ends(model)
    adapted = peft.get_peft_model(model, models.lora(2, learning=model))
    optimiser = torch.optim.Adam((p for p in adapted.parameters() if p.requires_grad), lr=1e-2)
    ids = torch.tensor([[*tags, tokenizer.eos_token_id]])
    adapted(input_ids=ids, labels=ids).loss.backward()
    optimiser.step()
    learnt = models.merged(adapted).eval()
    for old, new in zip(before, ends(learnt), strict=True):
        assert (np.abs(new - old).max(1) > 1e-3).all()
    models.save(learnt, tokenizer, Card(), tmp_path / "model")
    _, again = models.load(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(ids).logits, learnt(ids).logits, rtol=0, atol=0)
