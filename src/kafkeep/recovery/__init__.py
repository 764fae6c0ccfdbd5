"""A whole recovery as one procedure: records, topics and positions, then settings and permissions, under one plan."""
