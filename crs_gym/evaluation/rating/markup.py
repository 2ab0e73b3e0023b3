"""Conversations as HTML: every word of a dialogue is text, whatever it looks like."""

from __future__ import annotations

import html

from crs_gym.evaluation.rating.study import Lines

# what templates in the browser could take for code
_CODE = str.maketrans({sign: f"&#{ord(sign)};" for sign in "${}`\\"})

STYLE = """
.gradio-container { max-width: 1280px !important; margin: 0 auto !important;
    --block-info-text-color: var(--body-text-color); }
.talk { display: flex; flex-direction: column; gap: 14px; }
.talk h3 { margin: 0; font-size: 1.05em; }
.talk .turn { display: grid; grid-template-columns: 2.2em 1fr; gap: 4px 10px; }
.talk .number { grid-row: span 2; font-weight: 700; text-align: center; padding-top: 8px;
    color: var(--body-text-color-subdued); border-right: 2px solid var(--border-color-primary); }
.talk .said { padding: 8px 12px; border-radius: 10px; line-height: 1.45; white-space: pre-wrap;
    overflow-wrap: anywhere; color: var(--body-text-color); }
.talk .who { display: block; font-size: 0.75em; letter-spacing: 0.03em; margin-bottom: 2px;
    color: var(--body-text-color-subdued); }
.talk .recommender { background: var(--background-fill-secondary); margin-right: 8%;
    border: 1px solid var(--border-color-primary); }
.talk .user { background: var(--color-accent-soft); margin-left: 8%;
    border: 1px solid var(--border-color-accent-subdued); }
.progress { display: flex; align-items: center; gap: 14px; color: var(--body-text-color); }
.progress .bar { flex: 1; height: 8px; border-radius: 4px; overflow: hidden;
    background: var(--border-color-primary); }
.progress .bar div { height: 100%; background: var(--color-accent); }
.note { line-height: 1.5; color: var(--body-text-color); }
.missing { padding: 8px 12px; border-radius: 8px; color: var(--error-text-color);
    background: var(--error-background-fill); border: 1px solid var(--error-border-color); }
@media (min-width: 900px) {
    .reading { position: sticky; top: 12px; max-height: 94vh; overflow-y: auto; }
}
"""


def literal(text: str) -> str:
    """HTML that shows `text` as it is: tags, entities and signs of templates mean nothing."""
    return html.escape(text).translate(_CODE)


def conversation(lines: Lines, heading: str) -> str:
    """One conversation, turn by turn, under our own `heading`."""
    parts = [f"<h3>{literal(heading)}</h3>"]
    for start in range(0, len(lines), 2):
        said = "".join(
            f'<div class="said {side}"><span class="who">{literal(who)}</span>'
            f"{literal(words)}</div>"
            for side, (who, words) in zip(
                ("recommender", "user"), lines[start : start + 2], strict=False
            )
        )
        number = f'<div class="number" title="turn">{start // 2 + 1}</div>'
        parts.append(f'<div class="turn">{number}{said}</div>')
    return f'<div class="talk">{"".join(parts)}</div>'


def progress(place: int, total: int, what: str) -> str:
    """How far a judge is, as in "Conversation 4 of 20", and a bar of what is done."""
    share = 100 * (place - 1) / max(total, 1)
    return (
        f'<div class="progress"><b>{literal(what)} {place} of {total}</b>'
        f'<div class="bar"><div style="width: {share:.0f}%"></div></div></div>'
    )


def note(text: str) -> str:
    """A paragraph of ours."""
    return f'<p class="note">{literal(text)}</p>' if text else ""


def missing(text: str) -> str:
    """What a judge has yet to do; nothing for no text."""
    return f'<div class="missing">{literal(text)}</div>' if text else ""
