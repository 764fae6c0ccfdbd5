"""Schema registries over Confluent's REST interface."""
