"""How long a test waits for another process before it says that it hangs."""

# Seconds: far more than a slow or busy machine needs. No test asks that anything be fast.
PATIENCE = 300
