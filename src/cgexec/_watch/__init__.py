"""What ``python -m cgexec watch`` shows: numbers fetched, made into a frame, and drawn as text or with rich."""
