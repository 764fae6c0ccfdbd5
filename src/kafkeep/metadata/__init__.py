"""Metadata: a cluster's topics, settings, permissions and groups without its records: shown, compared, exported, applied."""
