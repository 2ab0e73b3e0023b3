"""The rating page in a browser: a conversation or two, the questions, one answer after another.

The page knows no more than an `Assignment` tells, so it cannot give away which words are whose.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from crs_gym.evaluation.rating import markup
from crs_gym.evaluation.rating.forms import (
    INSTRUCTIONS,
    LONGEST_FEEDBACK,
    Answers,
    Form,
    Judgement,
    NotFilled,
    Preference,
    aspects_of,
)
from crs_gym.evaluation.rating.store import Assignment, Store

PORT = 7860
_YES_NO = [("Yes", "yes"), ("No", "no")]
_BETTER = [("A", "first"), ("About the same", "same"), ("B", "second")]


def serve(
    store: Store, host: str = "127.0.0.1", port: int = PORT, *, block: bool = True
) -> tuple[Any, str]:
    """Serves the page until interrupted, or in the background.

    Nothing is shared through, loaded from or reported to any other machine.

    Args:
        host: address to listen on; the default can be reached from this machine alone.
        port: 0 to 65535; 0 takes a free one.
        block: whether to wait until the server is interrupted.

    Returns:
        The running page (`close()` ends it) and its address.

    Raises:
        ImportError: Gradio is not installed.
        OSError: the port is taken.
    """
    gradio = _gradio()
    blocks = page(store)
    _, address, _ = blocks.launch(
        server_name=host,
        server_port=port or _free_port(host),
        share=False,
        quiet=True,
        footer_links=[],
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        prevent_thread_lock=True,
        theme=gradio.themes.Default(
            # by name, so that the browser fetches no fonts
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        css=markup.STYLE,
    )
    if block:
        print(f"rating page: {address} (Ctrl-C ends it)", flush=True)
        blocks.block_thread()
    return blocks, address


def page(store: Store) -> Any:
    """The page as `gradio.Blocks`.

    Raises:
        ImportError: Gradio is not installed.
    """
    gradio = _gradio()
    form = store.study.form
    with gradio.Blocks(title="Rating conversations", analytics_enabled=False) as blocks:
        rater, assignment = gradio.State(None), gradio.State(None)
        with gradio.Column(elem_id="start") as start:
            gradio.HTML(f"<h2>Rating conversations</h2>{markup.note(INSTRUCTIONS[form])}")
            name = gradio.Textbox(
                label="Your name or code",
                info="Use the same one when you come back: you go on where you were.",
                max_length=80,
                elem_id="name",
            )
            begin = gradio.Button("Start", variant="primary", elem_id="begin")
            refused = gradio.HTML(elem_id="refused")
        with gradio.Column(visible=False, elem_id="form") as work:
            progress = gradio.HTML(elem_id="progress")
            with gradio.Accordion("What to do", open=False):
                gradio.HTML(markup.note(INSTRUCTIONS[form]))
            talks, questions = _sheet(gradio, form)
            problem = gradio.HTML(elem_id="problem")
            with gradio.Row():
                back = gradio.Button("Correct the one before", elem_id="back")
                submit = gradio.Button("Save and go on", variant="primary", elem_id="submit")
        with gradio.Column(visible=False, elem_id="end") as end:
            gradio.HTML(
                "<h2>Thank you!</h2>"
                + markup.note("There is nothing left for you to judge. All answers are saved.")
            )
            again = gradio.Button("Correct the last one", elem_id="again")

        flat = [part for question in questions for part in question]
        shown = [rater, assignment, start, work, end, progress, *talks, *flat, problem, back]

        def show(who: int, what: Assignment | None, editing: bool = False) -> list[Any]:
            """Values for all of `shown`."""
            done, total = store.progress(who)
            views = [gradio.update(visible=v) for v in (False, what is not None, what is None)]
            if what is None:
                return [who, None, *views, *[gradio.skip() for _ in shown[5:]]]
            kind = "Conversation" if form == "dialogue" else "Pair"
            return [
                who,
                what.id,
                *views,
                markup.progress(done if editing else done + 1, total, kind),
                *_talk_values(what),
                *_question_values(gradio, form, what),
                "",
                gradio.update(interactive=done > 0 and not editing),
            ]

        def on_begin(typed: str) -> list[Any]:
            try:
                who = store.rater(typed)
            except ValueError as error:
                return [*[gradio.skip() for _ in shown], markup.missing(str(error))]
            return [*show(who, store.next(who)), ""]

        def on_submit(who: int, what: int, *values: Any) -> list[Any]:
            try:
                store.answer(what, read(form, values))
            except NotFilled as error:
                kept: list[Any] = [gradio.skip() for _ in shown]
                kept[shown.index(problem)] = markup.missing(f"Not saved. {error}.")
                return kept
            return show(who, store.next(who))

        def on_back(who: int) -> list[Any]:
            return show(who, store.previous(who), editing=True)

        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        up = "(problem) => { if (!problem) window.scrollTo(0, 0); }"
        gradio.on([begin.click, name.submit], on_begin, [name], [*shown, refused], **quiet)
        submit.click(on_submit, [rater, assignment, *flat], shown, **quiet).then(
            None, [problem], None, js=up, **quiet
        )
        for button in (back, again):
            button.click(on_back, [rater], shown, **quiet).then(
                None, [problem], None, js=up, **quiet
            )
        if form == "dialogue":
            for answer, turns, remark in questions:
                answer.input(
                    lambda chosen: [gradio.update(visible=chosen == "no")] * 2,
                    [answer],
                    [turns, remark],
                    **quiet,
                )
    return blocks


def read(form: Form, values: Sequence[Any]) -> Answers:
    """What stands in the fields of the page, as answers; questions left open are left out."""
    answers: dict[str, Judgement | Preference] = {}
    width = 3 if form == "dialogue" else 2
    for i, aspect in enumerate(aspects_of(form)):
        chosen, *rest = values[i * width : (i + 1) * width]
        remark = (rest[-1] or "").strip()
        if chosen is None:
            continue
        if form == "pair":
            answers[aspect.name] = Preference(chosen, remark)
        elif chosen == "yes":
            answers[aspect.name] = Judgement(True)
        else:
            answers[aspect.name] = Judgement(False, tuple(sorted(rest[0] or ())), remark)
    return answers


def _sheet(gradio: Any, form: Form) -> tuple[list[Any], list[list[Any]]]:
    """Places for the conversations, and for each aspect its fields."""
    if form == "dialogue":
        with gradio.Row():
            with gradio.Column(scale=5, elem_classes="reading"):
                talks = [gradio.HTML(elem_id="talk")]
            with gradio.Column(scale=6):
                questions = [_question(gradio, form, i) for i in range(len(aspects_of(form)))]
        return talks, questions
    with gradio.Row():
        talks = []
        for side in ("first", "second"):
            with gradio.Column():
                talks.append(gradio.HTML(elem_id=side))
    return talks, [_question(gradio, form, i) for i in range(len(aspects_of(form)))]


def _question(gradio: Any, form: Form, index: int) -> list[Any]:
    aspect = aspects_of(form)[index]
    names = {"label": f"{index + 1}. {aspect.title}", "elem_id": aspect.name}
    remark = {"max_length": LONGEST_FEEDBACK, "elem_id": f"{aspect.name}-feedback"}
    with gradio.Group():
        if form == "pair":
            with gradio.Row():
                return [
                    gradio.Radio(_BETTER, info=aspect.comparison, scale=3, **names),
                    gradio.Textbox(label="Remark (optional)", scale=2, lines=2, **remark),
                ]
        return [
            gradio.Radio(_YES_NO, info=aspect.question, **names),
            gradio.CheckboxGroup(
                label="In which turns is something wrong?",
                visible=False,
                elem_id=f"{aspect.name}-turns",
            ),
            gradio.Textbox(
                label="What is wrong, and what would be better? (optional)",
                visible=False,
                lines=2,
                **remark,
            ),
        ]


def _talk_values(what: Assignment) -> list[str]:
    if not what.second:
        return [markup.conversation(what.first, "The conversation")]
    return [
        markup.conversation(what.first, "Conversation A"),
        markup.conversation(what.second, "Conversation B"),
    ]


def _question_values(gradio: Any, form: Form, what: Assignment) -> list[Any]:
    """The fields, empty or as they were answered before."""
    values: list[Any] = []
    turns = [(str(turn), turn) for turn in range(1, len(what.first) // 2 + 1)]
    for aspect in aspects_of(form):
        answer = (what.answers or {}).get(aspect.name)
        if form == "pair":
            better = answer.better if isinstance(answer, Preference) else None
            values += [better, answer.feedback if answer else ""]
            continue
        judged = answer if isinstance(answer, Judgement) else None
        no = judged is not None and not judged.yes
        values += [
            None if judged is None else "yes" if judged.yes else "no",
            gradio.update(choices=turns, value=list(judged.turns) if judged else [], visible=no),
            gradio.update(value=judged.feedback if judged else "", visible=no),
        ]
    return values


def _gradio() -> Any:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError as error:
        raise ImportError("the rating page needs Gradio: pip install 'crs-gym[ui]'") from error
    return gradio


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
