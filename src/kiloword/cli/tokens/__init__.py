"""`kiloword tokens`: surgery on a picture's tokens, to see what they mean."""
