"""The check of a model's derivatives before they are trusted."""
