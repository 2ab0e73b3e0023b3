"""A recommender that is a tiny model, as little trained as tests can do with."""

import numpy as np
import pytest

from crs_gym.acts import Leave, Recommendation, Reject
from crs_gym.dialogue import format_turn, greet, say, say_response
from crs_gym.dialogue.grammar import turn_of_names
from crs_gym.envs.text import Person
from crs_gym.language.persona import persona_of
from crs_gym.language.recommender import recommender_messages
from crs_gym.language.users import user_messages
from crs_gym.users import User


@pytest.fixture(scope="session")
def taught(tmp_path_factory, plane_world):
    """Folder of a model for `plane_world` that offers one film in each turn, any of them."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from agents.lm import models
    from agents.lm.chats import ChatFormat
    from agents.lm.tiny import build_model, build_tokenizer
    from crs_gym.language.card import Card

    torch.set_num_threads(1)
    world = plane_world
    tokenizer = build_tokenizer(world, subwords=60)
    model = build_model(tokenizer, width=32, layers=1, heads=2, seed=1)
    chat = ChatFormat(tokenizer)
    rng = np.random.default_rng(0)

    def row():
        turns = []
        for item in rng.permutation(world.n_items)[:4].tolist():
            act = Recommendation((item,))
            said = turn_of_names(Recommendation, [world.label(item)])
            turns.append((said, say_response(Reject(), act, world, int(rng.integers(6)))))
        return chat.row(recommender_messages(greet(int(rng.integers(6)))), turns)

    _teach(model, tokenizer, row)
    folder = tmp_path_factory.mktemp("taught")
    models.save(model, tokenizer, Card(world=world.hash), folder / "model")
    return folder / "model"


@pytest.fixture(scope="session")
def taught_user(tmp_path_factory, plane_world):
    """Folder of a model for `plane_world` that rejects what is offered, or leaves."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from agents.lm import models
    from agents.lm.chats import ChatFormat
    from agents.lm.tiny import build_model, build_tokenizer
    from crs_gym.language.card import Card

    torch.set_num_threads(1)
    world = plane_world
    rng = np.random.default_rng(1)

    def person():
        user = User(rng.normal(size=world.dim).astype(np.float32), 0.1, 1.0, 0.5)
        return Person(world, 0, user, int(rng.integers(1000)), 0)

    personas = [persona_of(person()) for _ in range(40)]
    tokenizer = build_tokenizer(world, [persona.text() for persona in personas], 60)
    model = build_model(tokenizer, width=32, layers=1, heads=2, seed=2)
    chat = ChatFormat(tokenizer)

    def row():
        persona = personas[int(rng.integers(len(personas)))]
        turns = []
        for item in rng.permutation(world.n_items)[:3].tolist():
            act = Recommendation((item,))
            words = say(act, world, int(rng.integers(4)))
            response = Leave() if rng.random() < 0.3 else Reject()
            own = format_turn(response, say_response(response, act, world, 0), world)
            turns.append((words, own))
        opening = user_messages(persona, (), turns[0][0], rules=False)
        heard = [words for words, _ in turns[1:]]
        return chat.row(opening, list(zip([own for _, own in turns], [*heard, None], strict=True)))

    _teach(model, tokenizer, row)
    folder = tmp_path_factory.mktemp("taught_user")
    models.save(model, tokenizer, Card("user", world=world.hash), folder / "model")
    return folder / "model"


def _teach(model, tokenizer, row, steps=120):
    import torch

    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        rows = [row() for _ in range(8)]
        longest = max(len(one.ids) for one in rows)
        ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
        labels = torch.full((len(rows), longest), -100)
        for place, one in enumerate(rows):
            ids[place, : len(one.ids)] = torch.tensor(one.ids)
            labels[place, : len(one.ids)] = torch.tensor(np.where(one.own, one.ids, -100))
        loss = model(
            input_ids=ids, labels=labels, attention_mask=ids != tokenizer.pad_token_id
        ).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
