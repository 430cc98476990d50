"""Both doors of the transformer: tokens to vectors at the entrance, hidden vectors to tokens at the output."""
