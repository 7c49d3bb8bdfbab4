"""`v`, `B_x u` and `H u` on layers and models of every kind: right, or refused in a sentence."""
