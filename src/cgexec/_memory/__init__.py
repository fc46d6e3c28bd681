"""Memory while tasks run: how much there is, what tasks need, whether one more fits. Knows nothing of pools."""
