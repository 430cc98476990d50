"""What proves the published pages right: what the authors' code computed was recorded, and is computed here again."""
