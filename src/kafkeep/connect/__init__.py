"""Kafka Connect over its REST interface."""
