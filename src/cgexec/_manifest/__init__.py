"""Kubernetes manifests: what their containers would get, and what is wrong with them. The command: `_cli.manifest`."""
