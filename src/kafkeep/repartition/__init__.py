"""A topic's records spread anew over another number of partitions, by key: the same batches from the same archive."""
