"""`kiloword tokens`: edit a picture's tokens, to see what they mean."""
