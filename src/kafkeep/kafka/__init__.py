"""The only room that opens broker sockets: a hot path of its own (Fetch, Produce) and a control path over kafka-python."""

from kafkeep.kafka.codec_only import leave_clients_out

leave_clients_out()
