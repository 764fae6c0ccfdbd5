"""The only room that opens broker sockets: a hot path of its own (Fetch, Produce) and a control path over kafka-python."""
