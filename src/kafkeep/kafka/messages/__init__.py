"""Kafka's own message definitions that kafka-python does not carry (Apache Kafka 4.3, Apache License 2.0)."""
