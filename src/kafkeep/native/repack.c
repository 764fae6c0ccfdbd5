/* Small batches put together for a restore: records move with new heads, their bodies as they are.

What is done here is what kafkeep.kafka.wire.growing does in Python, byte for byte, for batches of magic 2 whose offset
deltas are 0, 1, 2 ... and whose lengths add up. In front of any other batch it stops, and nothing of it is written. */

#include "crc32c.h"
#include "native.h"

#include <stdlib.h>

typedef struct {
    uint8_t *out;
    size_t room;
    size_t filled;
    int64_t records;
    int64_t base;   /* timestamp of the first record; set with it */
    int64_t latest; /* largest timestamp; of at least one record */
} Growing;

/* A varint of at most `most` bytes before `end`; NULL when there is none. Bits beyond the field's width are left to the
   caller to cut off, as Java's shifts do. */
static inline const uint8_t *read_groups(const uint8_t *at, const uint8_t *end, int most, uint64_t *value)
{
    uint64_t found = 0;
    for (int shift = 0; shift < 7 * most && at < end; shift += 7) {
        uint8_t byte = *at++;
        found |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = found;
            return at;
        }
    }
    return NULL;
}

static inline const uint8_t *read_varint(const uint8_t *at, const uint8_t *end, int32_t *value)
{
    uint64_t groups;
    if ((at = read_groups(at, end, 5, &groups)) != NULL) {
        uint32_t bits = (uint32_t)groups;
        *value = (int32_t)((bits >> 1) ^ (0U - (bits & 1U)));
    }
    return at;
}

static inline const uint8_t *read_varlong(const uint8_t *at, const uint8_t *end, int64_t *value)
{
    uint64_t bits;
    if ((at = read_groups(at, end, 10, &bits)) != NULL)
        *value = (int64_t)((bits >> 1) ^ (0ULL - (bits & 1ULL)));
    return at;
}

static inline uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? ~0ULL : 0ULL);
}

static inline size_t put_groups(uint8_t *out, uint64_t bits)
{
    size_t count = 0;
    while (bits > 0x7F) {
        out[count++] = (uint8_t)(0x80 | (bits & 0x7F));
        bits >>= 7;
    }
    out[count++] = (uint8_t)bits;
    return count;
}

enum {
    SMALLEST_RECORD = 7, /* one byte for each field of a record without key, value and headers */
    LARGEST_HEAD = 21,   /* length, attributes, timestamp delta and offset delta: 5, 1, 10 and 5 bytes */
    LEAST_HEAD = 4,
    HEAD_GROWTH = LARGEST_HEAD - LEAST_HEAD,
};

/* All `count` records of a payload behind those that are there; 0, with nothing changed, when it is an unusual one or
   when the room is too small. */
static int add_records(Growing *growing, const uint8_t *data, size_t size, int32_t count, int64_t base_timestamp)
{
    const uint8_t *at = data, *end = data + size;
    size_t filled = growing->filled;
    int64_t base = growing->base, latest = growing->latest;
    if (count <= 0 || (uint64_t)count * SMALLEST_RECORD > size || growing->records > INT32_MAX - count)
        return 0;
    for (int32_t number = 0; number < count; number++) {
        int32_t length, offset;
        int64_t delta;
        if ((at = read_varint(at, end, &length)) == NULL || length <= 0 || length > end - at)
            return 0;
        const uint8_t *stop = at + length;
        if ((at = read_varlong(at + 1, stop, &delta)) == NULL || (at = read_varint(at, stop, &offset)) == NULL)
            return 0;
        size_t body = (size_t)(stop - at);
        if (offset != number || body == 0 || growing->room - filled < body + LARGEST_HEAD)
            return 0;
        int64_t timestamp = (int64_t)((uint64_t)base_timestamp + (uint64_t)delta);
        if (number == 0 && growing->records == 0)
            base = latest = timestamp;
        if (timestamp > latest)
            latest = timestamp;
        uint8_t head[LARGEST_HEAD];
        size_t head_size = 1;
        head[0] = 0;
        head_size += put_groups(head + head_size, zigzag((int64_t)((uint64_t)timestamp - (uint64_t)base)));
        head_size += put_groups(head + head_size, zigzag(growing->records + number));
        filled += put_groups(growing->out + filled, zigzag((int64_t)(head_size + body)));
        memcpy(growing->out + filled, head, head_size);
        memcpy(growing->out + filled + head_size, at, body);
        filled += head_size + body;
        at = stop;
    }
    if (at != end)
        return 0;
    growing->filled = filled;
    growing->records += count;
    growing->base = base;
    growing->latest = latest;
    return 1;
}

static int opens(const Py_buffer *out, Py_ssize_t filled, long long records)
{
    if (filled >= 0 && filled <= out->len && records >= 0)
        return 1;
    PyErr_SetString(PyExc_ValueError, "more is filled than there is room, or less than nothing");
    return 0;
}

static PyObject *append_records(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer out, payload;
    Py_ssize_t filled;
    long long records, base, latest, base_timestamp;
    int count, added = 0, good;
    if (!PyArg_ParseTuple(arguments, "w*nLLLy*iL", &out, &filled, &records, &base, &latest, &payload, &count,
                          &base_timestamp))
        return NULL;
    Growing growing = {out.buf, (size_t)out.len, (size_t)filled, records, base, latest};
    if ((good = opens(&out, filled, records))) {
        Py_BEGIN_ALLOW_THREADS
        added = add_records(&growing, payload.buf, (size_t)payload.len, count, base_timestamp);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&payload);
    PyBuffer_Release(&out);
    if (!good)
        return NULL;
    if (!added)
        Py_RETURN_NONE;
    return Py_BuildValue("nLLL", (Py_ssize_t)growing.filled, (long long)growing.records, (long long)growing.base,
                         (long long)growing.latest);
}

/* Source offsets without holes, in order. */
typedef struct {
    int64_t *numbers; /* first offset and records of each range */
    size_t count;
    size_t room;
} Pieces;

static int add_piece(Pieces *pieces, int64_t first, int64_t records)
{
    int64_t *last = pieces->count ? pieces->numbers + 2 * (pieces->count - 1) : NULL;
    if (last != NULL && last[0] + last[1] == first) {
        last[1] += records;
        return 0;
    }
    if (pieces->count == pieces->room) {
        size_t room = pieces->room ? 2 * pieces->room : 16;
        int64_t *numbers = realloc(pieces->numbers, room * 2 * sizeof(int64_t));
        if (numbers == NULL)
            return -1;
        pieces->numbers = numbers;
        pieces->room = room;
    }
    pieces->numbers[2 * pieces->count] = first;
    pieces->numbers[2 * pieces->count + 1] = records;
    pieces->count++;
    return 0;
}

static PyObject *pieces_as_list(const Pieces *pieces)
{
    PyObject *list = PyList_New((Py_ssize_t)pieces->count);
    for (size_t at = 0; list != NULL && at < pieces->count; at++) {
        PyObject *piece =
            Py_BuildValue("LL", (long long)pieces->numbers[2 * at], (long long)pieces->numbers[2 * at + 1]);
        if (piece == NULL || PyList_SetItem(list, (Py_ssize_t)at, piece) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

typedef struct {
    const uint8_t *data;
    size_t size;
    size_t position;
    int64_t next_offset;
    int64_t start;
    int64_t stop;
    size_t largest; /* bytes of a batch that may join */
    size_t most;    /* what the records may come to at most, by `bound` */
    size_t bound;
} Source;

/* Batches from the source's position on, as long as they are plain, wanted as a whole and fit; -1 without memory. */
static int add_batches(Growing *growing, Source *source, Pieces *pieces)
{
    while (source->size - source->position >= HEADER_SIZE) {
        const uint8_t *header = source->data + source->position;
        int64_t base = read_i64(header + BASE_OFFSET_AT);
        int32_t length = read_i32(header + LENGTH_AT), delta = read_i32(header + LAST_OFFSET_DELTA_AT);
        int32_t count = read_i32(header + RECORD_COUNT_AT);
        if (header[MAGIC_AT] != 2 || length < HEADER_SIZE - LENGTH_END || base < source->next_offset || delta < 0
            || count != (int64_t)delta + 1 || base >= INT64_MAX - delta || base < source->start
            || base + delta >= source->stop)
            break;
        if (read_u16(header + ATTRIBUTES_AT) & (CODEC_MASK | LOG_APPEND_TIME_BIT | CONTROL_BIT))
            break;
        size_t whole = (size_t)length + LENGTH_END;
        if (whole > source->size - source->position || whole > source->largest)
            break;
        size_t grown = source->bound + (whole - HEADER_SIZE) + (size_t)count * HEAD_GROWTH;
        if (grown > source->most
            || !add_records(growing, header + HEADER_SIZE, whole - HEADER_SIZE, count,
                            read_i64(header + BASE_TIMESTAMP_AT)))
            break;
        source->bound = grown;
        source->position += whole;
        source->next_offset = base + count;
        if (add_piece(pieces, base, count) < 0)
            return -1;
    }
    return 0;
}

static PyObject *append_batches(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer out, chunk;
    Py_ssize_t filled, position, largest, most, bound;
    long long records, base, latest, next_offset, start, stop;
    int failed = 0, good;
    if (!PyArg_ParseTuple(arguments, "w*nLLLy*nLLLnnn", &out, &filled, &records, &base, &latest, &chunk, &position,
                          &next_offset, &start, &stop, &largest, &most, &bound))
        return NULL;
    Growing growing = {out.buf, (size_t)out.len, (size_t)filled, records, base, latest};
    Source source = {chunk.buf,     (size_t)chunk.len, (size_t)position, next_offset,  start, stop,
                     (size_t)largest, (size_t)most,    (size_t)bound};
    Pieces pieces = {NULL, 0, 0};
    good = opens(&out, filled, records);
    if (good && (position < 0 || position > chunk.len || largest < 0 || most < 0 || bound < 0)) {
        PyErr_SetString(PyExc_ValueError, "a position or a size lies outside of its buffer");
        good = 0;
    }
    if (good) {
        Py_BEGIN_ALLOW_THREADS
        failed = add_batches(&growing, &source, &pieces);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&chunk);
    PyBuffer_Release(&out);
    PyObject *list = !good ? NULL : failed ? PyErr_NoMemory() : pieces_as_list(&pieces);
    free(pieces.numbers);
    if (list == NULL)
        return NULL;
    return Py_BuildValue("nLLLnLnN", (Py_ssize_t)growing.filled, (long long)growing.records, (long long)growing.base,
                         (long long)growing.latest, (Py_ssize_t)source.position, (long long)source.next_offset,
                         (Py_ssize_t)source.bound, list);
}

/* Batches that go out by themselves, each with a new header. */

enum { CODECS = 5 };

typedef struct {
    int64_t producer_id;
    int16_t epoch;
    uint32_t sequence;
} Producer;

typedef struct {
    uint8_t header[HEADER_SIZE];
    size_t begin; /* where the records are */
    size_t end;
    int64_t base;
    int32_t count;
} Stamped;

typedef struct {
    Stamped *batches;
    size_t count;
    size_t room;
} AllStamped;

/* What kafkeep.kafka.wire.batch.rewrite makes of the batch. */
static void stamp(Stamped *made, const uint8_t *batch, size_t whole, const Producer *producer)
{
    uint8_t *header = made->header;
    memcpy(header, batch, HEADER_SIZE);
    write_u64(header + BASE_OFFSET_AT, 0);
    write_u32(header + LEADER_EPOCH_AT, UINT32_MAX);
    write_u16(header + ATTRIBUTES_AT, read_u16(batch + ATTRIBUTES_AT) & CODEC_MASK);
    write_u64(header + PRODUCER_ID_AT, (uint64_t)producer->producer_id);
    write_u16(header + PRODUCER_EPOCH_AT, (uint16_t)producer->epoch);
    write_u32(header + BASE_SEQUENCE_AT, producer->sequence);
    uint32_t crc = crc32c(0, header + CRC_START, HEADER_SIZE - CRC_START);
    write_u32(header + CRC_AT, crc32c(crc, batch + HEADER_SIZE, whole - HEADER_SIZE));
}

/* Batches from the source's position on, as long as they are wanted as a whole, need a new header only, and have more bytes
   than what `joining` lets join others; -1 without memory. */
static int stamp_batches(Source *source, const int64_t *joining, Producer *producer, AllStamped *found)
{
    while (source->size - source->position >= HEADER_SIZE) {
        const uint8_t *header = source->data + source->position;
        int64_t base = read_i64(header + BASE_OFFSET_AT);
        int32_t length = read_i32(header + LENGTH_AT), delta = read_i32(header + LAST_OFFSET_DELTA_AT);
        int32_t count = read_i32(header + RECORD_COUNT_AT);
        unsigned int attributes = read_u16(header + ATTRIBUTES_AT), codec = attributes & CODEC_MASK;
        if (header[MAGIC_AT] != 2 || length < HEADER_SIZE - LENGTH_END || base < source->next_offset || delta < 0
            || count != (int64_t)delta + 1 || base >= INT64_MAX - delta || base < source->start
            || base + delta >= source->stop || (attributes & (LOG_APPEND_TIME_BIT | CONTROL_BIT)) || codec >= CODECS)
            break;
        size_t whole = (size_t)length + LENGTH_END;
        if (whole > source->size - source->position || (int64_t)whole <= joining[codec])
            break;
        if (found->count == found->room) {
            size_t room = found->room ? 2 * found->room : 16;
            Stamped *batches = realloc(found->batches, room * sizeof(Stamped));
            if (batches == NULL)
                return -1;
            found->batches = batches;
            found->room = room;
        }
        Stamped *made = found->batches + found->count++;
        stamp(made, header, whole, producer);
        made->begin = source->position + HEADER_SIZE;
        made->end = source->position + whole;
        made->base = base;
        made->count = count;
        producer->sequence = (producer->sequence + (uint32_t)count) & INT32_MAX;
        source->position += whole;
        source->next_offset = base + count;
    }
    return 0;
}

static PyObject *stamped_as_list(const AllStamped *found)
{
    PyObject *list = PyList_New((Py_ssize_t)found->count);
    for (size_t at = 0; list != NULL && at < found->count; at++) {
        const Stamped *made = found->batches + at;
        PyObject *told = Py_BuildValue("y#nnLi", (const char *)made->header, (Py_ssize_t)HEADER_SIZE,
                                       (Py_ssize_t)made->begin, (Py_ssize_t)made->end, (long long)made->base, made->count);
        if (told == NULL || PyList_SetItem(list, (Py_ssize_t)at, told) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

static PyObject *stamped(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer chunk;
    Py_ssize_t position;
    long long next_offset, start, stop, producer_id, limits[CODECS];
    int epoch, sequence, failed = 0;
    if (!PyArg_ParseTuple(arguments, "y*nLLL(LLLLL)Lii", &chunk, &position, &next_offset, &start, &stop, limits, limits + 1,
                          limits + 2, limits + 3, limits + 4, &producer_id, &epoch, &sequence))
        return NULL;
    if (position < 0 || position > chunk.len || sequence < 0 || epoch < INT16_MIN || epoch > INT16_MAX) {
        PyBuffer_Release(&chunk);
        PyErr_SetString(PyExc_ValueError, "a position outside of the buffer, or no producer's numbers");
        return NULL;
    }
    int64_t joining[CODECS];
    for (int codec = 0; codec < CODECS; codec++)
        joining[codec] = limits[codec];
    Source source = {chunk.buf, (size_t)chunk.len, (size_t)position, next_offset, start, stop, 0, 0, 0};
    Producer producer = {producer_id, (int16_t)epoch, (uint32_t)sequence};
    AllStamped found = {NULL, 0, 0};
    Py_BEGIN_ALLOW_THREADS
    failed = stamp_batches(&source, joining, &producer, &found);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&chunk);
    PyObject *list = failed ? PyErr_NoMemory() : stamped_as_list(&found);
    free(found.batches);
    return list == NULL ? NULL : Py_BuildValue("NnL", list, (Py_ssize_t)source.position, (long long)source.next_offset);
}

/* Only what was filled is ever sent, and clearing a megabyte first costs as much as moving records into it. */
static PyObject *uninitialised(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(arguments, "n", &size))
        return NULL;
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "a size below zero");
        return NULL;
    }
    return PyByteArray_FromStringAndSize(NULL, size);
}

PyMethodDef kafkeep_repack_methods[] = {
    {"uninitialised", uninitialised, METH_VARARGS, "uninitialised(size): a bytearray of any content."},
    {"append_records", append_records, METH_VARARGS,
     "append_records(out, filled, records, base, latest, payload, count, base_timestamp): the payload's records behind\n"
     "those in `out`; (filled, records, base, latest) then, None for a payload that is left to Python."},
    {"append_batches", append_batches, METH_VARARGS,
     "append_batches(out, filled, records, base, latest, chunk, position, next_offset, start, stop, largest, most, bound):\n"
     "plain uncompressed batches of the chunk, as many as fit; (filled, records, base, latest, position, next_offset,\n"
     "bound, source ranges)."},
    {"stamped", stamped, METH_VARARGS,
     "stamped(chunk, position, next_offset, start, stop, joining, producer_id, producer_epoch, base_sequence): batches of\n"
     "the chunk, of more bytes than their codec's number in `joining`, that need but a new header; ([(header, begin and end\n"
     "of the records, base offset, count)], position, next_offset)."},
    {NULL, NULL, 0, NULL},
};
