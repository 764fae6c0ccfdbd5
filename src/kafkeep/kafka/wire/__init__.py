"""Kafka's bytes as pure functions: primitives, record batches, records, codecs, Fetch and Produce messages."""
