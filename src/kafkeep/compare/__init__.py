"""Compare: proving record by record that a cluster holds what a recovery point holds."""
