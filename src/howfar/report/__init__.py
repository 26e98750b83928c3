"""Records to a terminal table, figures and one self-contained page. Needs no torch."""
