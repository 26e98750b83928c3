"""A trained model on disk and in use: save, load, predict, generate, evaluate, export."""
