"""One function per trainable model, and the way to carry it out."""
