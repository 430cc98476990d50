"""Prompts: from a text, a class or features to the condition of a picture, and its null for guidance."""
