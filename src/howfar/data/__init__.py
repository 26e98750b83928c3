"""A file becomes checked, tokenised, split, batched ids; what was dropped or cut is counted."""
