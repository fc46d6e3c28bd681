"""A service that runs jobs of minutes in threads, sized by its container. README.md in this folder says how."""
