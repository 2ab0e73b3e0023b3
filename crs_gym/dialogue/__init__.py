"""Acts to words."""

from crs_gym.dialogue.templates import conversation, say, say_response

__all__ = ["conversation", "say", "say_response"]
