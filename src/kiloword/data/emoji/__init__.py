"""The emoji set: 16,614 captioned pictures, 3,968 code sequences drawn in five styles, from openly licensed packages.

Source: Fluent Emoji (Microsoft), Noto Emoji (Google), Twemoji (Twitter and contributors), labels of Unicode CLDR.
"""
