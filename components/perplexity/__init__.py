"""How well an n-gram model of good text predicts a text: the measure of CCNet (Wenzek et al. 2020)."""
