"""Batches for every aim: which rows go together, and what is asked of them."""
