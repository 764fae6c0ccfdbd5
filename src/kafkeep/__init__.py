"""Backup, restore, verification and disaster recovery for Apache Kafka."""

__version__ = "0.1.0"
