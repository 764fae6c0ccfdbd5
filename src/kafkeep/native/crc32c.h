#ifndef KAFKEEP_CRC32C_H
#define KAFKEEP_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Picks the fastest way this processor has; called once, before anything else. */
void crc32c_begin(void);

/* CRC-32C (Castagnoli) of `size` bytes behind others whose CRC is `crc`, 0 for none. Needs no interpreter's lock. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* The name of the way that is in use, for people. */
const char *crc32c_way(void);

#endif
