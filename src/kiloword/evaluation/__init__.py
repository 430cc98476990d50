"""How good a model is, in figures: what it draws, what it describes, what it has memorised."""

from kiloword.evaluation.emoji_evaluation import evaluate_emoji

__all__ = ["evaluate_emoji"]
