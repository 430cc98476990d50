"""What a picture is asked for with: a text, a class. Each reads prompts into a condition and knows its null."""
