/* Batches by their headers: walked and checked. */

#include "crc32c.h"
#include "native.h"

/* Rows are the headers of the batches themselves, 61 bytes each, one behind the other: kafkeep/batch_rows.py. */

/* Rows that are looked through without giving the interpreter's lock away, which costs more than they do. */
#define MOST_WITH_LOCK 4096

typedef struct {
    uint8_t *rows;
    size_t count;
    size_t room;
} Rows;

static int add_row(Rows *found, const uint8_t *header)
{
    if (found->count == found->room) {
        size_t room = found->room ? 2 * found->room : 64;
        uint8_t *rows = realloc(found->rows, room * HEADER_SIZE);
        if (rows == NULL)
            return -1;
        found->rows = rows;
        found->room = room;
    }
    memcpy(found->rows + found->count++ * HEADER_SIZE, header, HEADER_SIZE);
    return 0;
}

/* All sound whole batches of magic 2 from `*position` on; -1 without memory. */
static int walk_all(const uint8_t *data, size_t size, int verify, size_t *position, int64_t *next_offset, Rows *found)
{
    while (size - *position >= HEADER_SIZE) {
        const uint8_t *header = data + *position;
        int64_t base = read_i64(header + BASE_OFFSET_AT);
        int32_t length = read_i32(header + LENGTH_AT);
        int32_t delta = read_i32(header + LAST_OFFSET_DELTA_AT);
        if (header[MAGIC_AT] != 2 || length < HEADER_SIZE - LENGTH_END || base < *next_offset || delta < 0
            || read_i32(header + RECORD_COUNT_AT) < 0 || base >= INT64_MAX - delta)
            break;
        size_t whole = (size_t)length + LENGTH_END;
        if (whole > size - *position)
            break;
        if (verify && crc32c(0, header + CRC_START, whole - CRC_START) != read_u32(header + CRC_AT))
            break;
        if (add_row(found, header) < 0)
            return -1;
        *next_offset = base + delta + 1;
        *position += whole;
    }
    return 0;
}

static PyObject *walk(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer buffer;
    int verify, failed;
    Py_ssize_t start;
    long long next_offset;
    if (!PyArg_ParseTuple(arguments, "y*pnL", &buffer, &verify, &start, &next_offset))
        return NULL;
    if (start < 0 || start > buffer.len) {
        PyBuffer_Release(&buffer);
        PyErr_SetString(PyExc_ValueError, "the position lies outside of the buffer");
        return NULL;
    }
    Rows found = {NULL, 0, 0};
    size_t position = (size_t)start;
    int64_t next = next_offset;
    Py_BEGIN_ALLOW_THREADS
    failed = walk_all(buffer.buf, (size_t)buffer.len, verify, &position, &next, &found);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&buffer);
    PyObject *rows = failed ? PyErr_NoMemory()
                            : PyBytes_FromStringAndSize((const char *)found.rows, (Py_ssize_t)(found.count * HEADER_SIZE));
    free(found.rows);
    return rows == NULL ? NULL : Py_BuildValue("NnL", rows, (Py_ssize_t)position, (long long)next);
}

/* The rows of an argument that must hold whole ones: how many, -1 with an error set. */
static Py_ssize_t rows_of(PyObject *argument, Py_buffer *buffer)
{
    if (PyObject_GetBuffer(argument, buffer, PyBUF_SIMPLE) < 0)
        return -1;
    if (buffer->len % HEADER_SIZE == 0)
        return buffer->len / HEADER_SIZE;
    PyBuffer_Release(buffer);
    PyErr_SetString(PyExc_ValueError, "not a number of whole rows");
    return -1;
}

static PyObject *ends(PyObject *module, PyObject *argument)
{
    (void)module;
    Py_buffer buffer;
    Py_ssize_t count = rows_of(argument, &buffer);
    if (count < 0)
        return NULL;
    PyObject *made = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(int64_t));
    char *out = made == NULL ? NULL : PyBytes_AsString(made);
    if (out != NULL) {
        PyThreadState *released = count > MOST_WITH_LOCK ? PyEval_SaveThread() : NULL;
        const uint8_t *row = buffer.buf;
        int64_t end = 0;
        for (Py_ssize_t index = 0; index < count; index++, row += HEADER_SIZE) {
            end += (int64_t)read_i32(row + LENGTH_AT) + LENGTH_END;
            memcpy(out + index * (Py_ssize_t)sizeof end, &end, sizeof end);
        }
        if (released != NULL)
            PyEval_RestoreThread(released);
    }
    PyBuffer_Release(&buffer);
    return made;
}

typedef struct {
    int64_t first, stop, raw_bytes, largest, data_batches, records, oldest, newest;
    int32_t epoch;
    unsigned int attributes, kinds;
    int rises, one_epoch, old_magic, holes;
} Summary;

/* 0 when an offset is beyond 64 bits, which Python's numbers can hold. */
static int summarize(const uint8_t *row, Py_ssize_t count, Summary *told)
{
    *told = (Summary){
        .first = read_i64(row + BASE_OFFSET_AT),
        .epoch = read_i32(row + LEADER_EPOCH_AT),
        .largest = INT64_MIN,
        .oldest = INT64_MAX,
        .newest = INT64_MIN,
        .rises = 1,
        .one_epoch = 1,
    };
    for (Py_ssize_t index = 0; index < count; index++, row += HEADER_SIZE) {
        int64_t base = read_i64(row + BASE_OFFSET_AT);
        int32_t delta = read_i32(row + LAST_OFFSET_DELTA_AT);
        int64_t size = (int64_t)read_i32(row + LENGTH_AT) + LENGTH_END;
        unsigned int attributes = read_u16(row + ATTRIBUTES_AT);
        if (base < 0 || delta < 0 || base < told->stop)
            told->rises = 0;
        if (delta >= 0 && base >= INT64_MAX - delta)
            return 0;
        if (delta < 0 && base < INT64_MIN - (int64_t)delta)
            return 0;
        told->stop = base + delta + 1;
        told->raw_bytes += size;
        told->largest = size > told->largest ? size : told->largest;
        told->one_epoch &= read_i32(row + LEADER_EPOCH_AT) == told->epoch;
        told->attributes |= attributes;
        told->old_magic |= row[MAGIC_AT] != 2;
        if (attributes & CONTROL_BIT)
            continue;
        int64_t oldest = read_i64(row + BASE_TIMESTAMP_AT), newest = read_i64(row + MAX_TIMESTAMP_AT);
        int64_t records = read_i32(row + RECORD_COUNT_AT);
        told->data_batches++;
        told->records += records > 0 ? records : 0;
        told->oldest = oldest < told->oldest ? oldest : told->oldest;
        told->newest = newest > told->newest ? newest : told->newest;
        told->kinds |= 1u << (attributes & (CODEC_MASK | LOG_APPEND_TIME_BIT));
        told->holes |= records - delta != 1 || (attributes & DELETE_HORIZON_BIT) != 0;
    }
    return 1;
}

static PyObject *as_tuple(const Summary *told, Py_ssize_t count)
{
    int64_t none = -1;
    return Py_BuildValue(
        "LLNnLLiNiNLLLLIN", (long long)told->first, (long long)told->stop, PyBool_FromLong(told->rises), count,
        (long long)told->raw_bytes, (long long)told->largest, (int)told->epoch, PyBool_FromLong(told->one_epoch),
        (int)(int16_t)told->attributes, PyBool_FromLong(told->old_magic), (long long)told->data_batches,
        (long long)told->records, (long long)(told->data_batches ? told->oldest : none),
        (long long)(told->data_batches ? told->newest : none), told->kinds, PyBool_FromLong(told->holes));
}

static PyObject *summary(PyObject *module, PyObject *argument)
{
    (void)module;
    Py_buffer buffer;
    Py_ssize_t count = rows_of(argument, &buffer);
    if (count < 0)
        return NULL;
    Summary told;
    int told_all = 0;
    if (count > 0) {
        PyThreadState *released = count > MOST_WITH_LOCK ? PyEval_SaveThread() : NULL;
        told_all = summarize(buffer.buf, count, &told);
        if (released != NULL)
            PyEval_RestoreThread(released);
    }
    PyBuffer_Release(&buffer);
    return told_all ? as_tuple(&told, count) : Py_NewRef(Py_None);
}

static int64_t size_of(const uint8_t *row)
{
    return (int64_t)read_i32(row + LENGTH_AT) + LENGTH_END;
}

/* How many rows from the first one on fit into `room`, and the bytes of their batches. */
static Py_ssize_t fitting(const uint8_t *row, Py_ssize_t count, int64_t room, int64_t *bytes)
{
    Py_ssize_t taken = 0;
    *bytes = 0;
    while (taken < count && size_of(row + taken * HEADER_SIZE) <= room - *bytes)
        *bytes += size_of(row + taken++ * HEADER_SIZE);
    return taken;
}

/* Adds the piece that begins with row `*index` and moves on behind it; 0 when it is left to Python, -1 on an error. */
static int add_piece(PyObject *found, const uint8_t *rows, Py_ssize_t count, int64_t room, int64_t target,
                     Py_ssize_t *index, int64_t *end)
{
    const uint8_t *row = rows + *index * HEADER_SIZE;
    Summary told;
    int64_t bytes;
    Py_ssize_t taken = fitting(row, count - *index, room, &bytes);
    if (taken == 0)
        taken = fitting(row, count - *index, target, &bytes);
    if (taken == 0) {
        taken = 1;
        bytes = size_of(row);
    }
    if (!summarize(row, taken, &told))
        return 0;
    *index += taken;
    *end += bytes;
    PyObject *piece = Py_BuildValue("nLN", *index, (long long)*end, as_tuple(&told, taken));
    int failed = piece == NULL || PyList_Append(found, piece) < 0;
    Py_XDECREF(piece);
    return failed ? -1 : 1;
}

static PyObject *pieces(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *argument;
    long long room, target;
    Py_buffer buffer;
    if (!PyArg_ParseTuple(arguments, "OLL", &argument, &room, &target))
        return NULL;
    Py_ssize_t count = rows_of(argument, &buffer), index = 0;
    if (count < 0)
        return NULL;
    PyObject *found = PyList_New(0);
    int64_t end = 0;
    int done = found == NULL ? -1 : 1;
    while (done > 0 && index < count)
        done = add_piece(found, buffer.buf, count, index ? target : room, target, &index, &end);
    PyBuffer_Release(&buffer);
    if (done > 0)
        return found;
    Py_XDECREF(found);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

/* Whether the data are the batches of the rows, all of magic 2, and nothing else. */
static int same_all(const uint8_t *data, size_t size, const uint8_t *row, Py_ssize_t count)
{
    size_t position = 0;
    for (; count > 0; count--, row += HEADER_SIZE) {
        const uint8_t *header = data + position;
        if (size - position < HEADER_SIZE || memcmp(header, row, HEADER_SIZE) != 0 || row[MAGIC_AT] != 2)
            return 0;
        int64_t whole = size_of(row);
        if (whole < HEADER_SIZE || (uint64_t)whole > size - position
            || crc32c(0, header + CRC_START, (size_t)whole - CRC_START) != read_u32(row + CRC_AT))
            return 0;
        position += (size_t)whole;
    }
    return position == size;
}

static PyObject *same(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer data, rows;
    PyObject *argument;
    int found;
    if (!PyArg_ParseTuple(arguments, "y*O", &data, &argument))
        return NULL;
    Py_ssize_t count = rows_of(argument, &rows);
    if (count < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    found = same_all(data.buf, (size_t)data.len, rows.buf, count);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&rows);
    PyBuffer_Release(&data);
    return PyBool_FromLong(found);
}

/* Where the first `count` batches of the rows end; -1 when one of them has no size. */
static int64_t bytes_of(const uint8_t *row, Py_ssize_t count)
{
    int64_t total = 0;
    for (; count > 0; count--, row += HEADER_SIZE) {
        int64_t whole = size_of(row);
        if (whole <= 0 || whole > INT64_MAX - total)
            return -1;
        total += whole;
    }
    return total;
}

/* Hands bytes to a hasher; 0 on an error. */
static int hash_bytes(PyObject *hasher, const uint8_t *data, Py_ssize_t size)
{
    PyObject *view = PyMemoryView_FromMemory((char *)data, size, PyBUF_READ);
    PyObject *answer = view == NULL ? NULL : PyObject_CallMethod(hasher, "update", "O", view);
    PyObject *released = answer == NULL ? NULL : PyObject_CallMethod(view, "release", NULL);
    Py_XDECREF(released);
    Py_XDECREF(answer);
    Py_XDECREF(view);
    return released != NULL;
}

/* Notes the digest of what was hashed, and takes another hasher; 0 on an error. */
static int end_hashing(PyObject **hasher, PyObject *fresh, PyObject *digests)
{
    PyObject *digest = PyObject_CallMethod(*hasher, "hexdigest", NULL);
    PyObject *next = digest == NULL || PyList_Append(digests, digest) < 0 ? NULL : PyObject_CallNoArgs(fresh);
    Py_XDECREF(digest);
    if (next == NULL)
        return 0;
    Py_DECREF(*hasher);
    *hasher = next;
    return 1;
}

typedef struct {
    PyObject *hasher, *fresh, *digests, *stops;
    const uint8_t *data, *rows;
    Py_ssize_t size, count;
    int begins, sound;
} Hashing;

/* Every piece: hashed, then looked at while the processor has it at hand; 0 on an error. */
static int hash_pieces(Hashing *work)
{
    Py_ssize_t pieces = PyList_Size(work->stops), index = 0;
    const uint8_t *at = work->data;
    for (Py_ssize_t number = 0; number < pieces; number++) {
        PyObject *told = PyList_GetItem(work->stops, number);
        Py_ssize_t stop = told == NULL ? -1 : PyLong_AsSsize_t(told);
        if (stop == -1 && PyErr_Occurred())
            return 0;
        const uint8_t *row = work->rows + index * HEADER_SIZE;
        int64_t size = stop <= index || stop > work->count ? -1 : bytes_of(row, stop - index);
        if (size < 0 || size > work->size - (at - work->data)) {
            PyErr_SetString(PyExc_ValueError, "the pieces are not those of the batches");
            return 0;
        }
        if ((number > 0 || work->begins) && !end_hashing(&work->hasher, work->fresh, work->digests))
            return 0;
        if (!hash_bytes(work->hasher, at, (Py_ssize_t)size))
            return 0;
        int sound;
        Py_BEGIN_ALLOW_THREADS
        sound = same_all(at, (size_t)size, row, stop - index);
        Py_END_ALLOW_THREADS
        work->sound &= sound;
        at += size;
        index = stop;
    }
    return 1;
}

static PyObject *hashed(PyObject *module, PyObject *arguments)
{
    (void)module;
    Hashing work = {.sound = 1};
    PyObject *argument;
    Py_buffer data, rows;
    if (!PyArg_ParseTuple(arguments, "OOy*OO!p", &work.hasher, &work.fresh, &data, &argument, &PyList_Type, &work.stops,
                          &work.begins))
        return NULL;
    work.count = rows_of(argument, &rows);
    if (work.count < 0) {
        PyBuffer_Release(&data);
        return NULL;
    }
    work.data = data.buf;
    work.size = data.len;
    work.rows = rows.buf;
    work.digests = PyList_New(0);
    Py_INCREF(work.hasher);
    int done = work.digests != NULL && hash_pieces(&work);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&data);
    if (done)
        return Py_BuildValue("NNN", work.hasher, work.digests, PyBool_FromLong(work.sound));
    Py_DECREF(work.hasher);
    Py_XDECREF(work.digests);
    return NULL;
}

static PyObject *address(PyObject *module, PyObject *argument)
{
    (void)module;
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *found = PyLong_FromVoidPtr(buffer.buf);
    PyBuffer_Release(&buffer);
    return found;
}

PyMethodDef kafkeep_walk_methods[] = {
    {"walk", walk, METH_VARARGS,
     "walk(view, verify, position, next_offset): the headers of all sound whole batches of magic 2 from `position` on,\n"
     "61 bytes each, then where the first that is none of these begins, and the least offset it may have."},
    {"ends", ends, METH_O, "ends(rows): where each batch ends, as machine integers of 64 bits."},
    {"summary", summary, METH_O,
     "summary(rows): the fields of kafkeep.batch_rows.Summary, or None when that is Python's to find out."},
    {"pieces", pieces, METH_VARARGS,
     "pieces(rows, room, target): what goes together into chunks, each as (number of the batch behind it, where it ends,\n"
     "summary); None when that is Python's to find out."},
    {"hashed", hashed, METH_VARARGS,
     "hashed(hasher, fresh, data, rows, stops, begins): hashes the batches of the rows piece by piece, each behind the\n"
     "first (with `begins` that one too) by a hasher of its own, and looks at each piece as `same` does once it is hashed:\n"
     "the last hasher, the digests of those that ended, whether all batches are the same."},
    {"address", address, METH_O, "address(data): where the data begin in memory."},
    {"same", same, METH_VARARGS,
     "same(data, rows): whether the data are the batches of these rows, each with its CRC, and nothing else."},
    {NULL, NULL, 0, NULL},
};
