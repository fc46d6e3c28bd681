"""How many workers the load deserves: samples in, a size and a reason out. Knows nothing of pools."""
