"""Words every room shares: errors, seeds, batches, protocols, and the shape legend.

Shapes: `B` sequences, `L` tokens, `V` vocabulary, `D` width, `E` embedding width, `H` heads,
`N` state, `C` classes. A name ends in its shape: `x_BLD`.
"""
