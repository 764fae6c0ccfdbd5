/* What the files of the C helper share. See docs/architecture.md, "The C helper".

Rules of this folder: every read of input is bounds-checked against the buffer it came in, nothing is allocated by a
length that input tells, loops over many bytes run without the interpreter's lock, and what is unusual is not judged here:
the functions stop in front of it and Python's own code goes on from there. */

#ifndef KAFKEEP_NATIVE_H
#define KAFKEEP_NATIVE_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Rises whenever what Python calls here changes; kafkeep/native/__init__.py leaves another number unused. */
#define KAFKEEP_API 7

extern PyMethodDef kafkeep_crc32c_methods[];
extern PyMethodDef kafkeep_walk_methods[];
extern PyMethodDef kafkeep_repack_methods[];

/* Numbers as Kafka writes them: big-endian, at any address. */

static inline uint16_t read_u16(const uint8_t *at)
{
    return (uint16_t)((at[0] << 8) | at[1]);
}

static inline uint32_t read_u32(const uint8_t *at)
{
    return ((uint32_t)at[0] << 24) | ((uint32_t)at[1] << 16) | ((uint32_t)at[2] << 8) | (uint32_t)at[3];
}

static inline uint64_t read_u64(const uint8_t *at)
{
    return ((uint64_t)read_u32(at) << 32) | read_u32(at + 4);
}

static inline int16_t read_i16(const uint8_t *at)
{
    return (int16_t)read_u16(at);
}

static inline int32_t read_i32(const uint8_t *at)
{
    return (int32_t)read_u32(at);
}

static inline int64_t read_i64(const uint8_t *at)
{
    return (int64_t)read_u64(at);
}

static inline void write_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void write_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static inline void write_u64(uint8_t *at, uint64_t value)
{
    write_u32(at, (uint32_t)(value >> 32));
    write_u32(at + 4, (uint32_t)value);
}

/* The header of a batch of magic 2 (clients/common/record/DefaultRecordBatch.java): where its fields lie. */

enum {
    BASE_OFFSET_AT = 0,
    LENGTH_AT = 8,
    LENGTH_END = 12,
    LEADER_EPOCH_AT = 12,
    MAGIC_AT = 16,
    CRC_AT = 17,
    CRC_START = 21,
    ATTRIBUTES_AT = 21,
    LAST_OFFSET_DELTA_AT = 23,
    BASE_TIMESTAMP_AT = 27,
    MAX_TIMESTAMP_AT = 35,
    PRODUCER_ID_AT = 43,
    PRODUCER_EPOCH_AT = 51,
    BASE_SEQUENCE_AT = 53,
    RECORD_COUNT_AT = 57,
    HEADER_SIZE = 61,
};

enum {
    CODEC_MASK = 0x07,
    LOG_APPEND_TIME_BIT = 0x08,
    TRANSACTIONAL_BIT = 0x10,
    CONTROL_BIT = 0x20,
    DELETE_HORIZON_BIT = 0x40,
};

#endif
