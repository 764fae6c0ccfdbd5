/* CRC-32C by the processor's own instruction where it has one (SSE 4.2, ARMv8), by tables elsewhere; long inputs by
carry-less multiplication of 64 bytes at a time where it has that (AVX-512 with VPCLMULQDQ).

The instruction takes three cycles and can begin every cycle, so long inputs are cut into three parts that run side by
side. Their CRCs are put together by shifting: the CRC of A behind which n zero bytes stand is linear in the CRC of A, and
for the two lengths in use the shift is a lookup in four tables of 256 (after Mark Adler's crc32c.c).

Folding: a part of 16 bytes that stands n bytes in front of another is moved onto it by multiplying its halves with
x^(8n + 31) and x^(8n - 33) modulo the polynomial (Gopal and others, "Fast CRC Computation Using PCLMULQDQ"). */

#include "crc32c.h"
#include "native.h"

#define POLYNOMIAL 0x82f63b78u
#define LONG_PART 8192
#define SHORT_PART 256

typedef uint32_t way(uint32_t, const uint8_t *, size_t);

static uint32_t table[8][256];
static uint32_t long_shift[4][256];
static uint32_t short_shift[4][256];
static way *chosen;
static const char *chosen_name = "";

static uint32_t by_table(uint32_t crc, const uint8_t *data, size_t size)
{
    while (size >= 8) {
        uint32_t low = crc ^ ((uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24);
        crc = table[7][low & 0xff] ^ table[6][(low >> 8) & 0xff] ^ table[5][(low >> 16) & 0xff] ^ table[4][low >> 24]
            ^ table[3][data[4]] ^ table[2][data[5]] ^ table[1][data[6]] ^ table[0][data[7]];
        data += 8;
        size -= 8;
    }
    while (size--)
        crc = (crc >> 8) ^ table[0][(crc ^ *data++) & 0xff];
    return crc;
}

static void make_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int row = 1; row < 8; row++)
            table[row][byte] = (table[row - 1][byte] >> 8) ^ table[0][table[row - 1][byte] & 0xff];
}

/* Tables that give the CRC of something behind which `zeros` zero bytes stand. */
static void make_shift(uint32_t shift[4][256], size_t zeros)
{
    static const uint8_t none[SHORT_PART];
    uint32_t of_bit[32];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t crc = (uint32_t)1 << bit;
        for (size_t left = zeros; left; left -= SHORT_PART)
            crc = by_table(crc, none, SHORT_PART);
        of_bit[bit] = crc;
    }
    for (int byte = 0; byte < 4; byte++)
        for (uint32_t value = 0; value < 256; value++) {
            uint32_t crc = 0;
            for (int bit = 0; bit < 8; bit++)
                if (value >> bit & 1)
                    crc ^= of_bit[byte * 8 + bit];
            shift[byte][value] = crc;
        }
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define BY_INSTRUCTION 1
#if (defined(__clang__) && __clang_major__ >= 8) || (!defined(__clang__) && __GNUC__ >= 9)
#define BY_FOLDING 1
#endif
#define WITH_INSTRUCTION __attribute__((target("sse4.2")))
#define WAY_NAME "SSE 4.2"
#define TAKE_8(crc, at) (uint32_t)_mm_crc32_u64((crc), read_8(at))
#define TAKE_1(crc, byte) _mm_crc32_u8((crc), (byte))

static int has_instruction(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}

#elif defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__)
#include <arm_acle.h>
#define BY_INSTRUCTION 1
#if defined(__clang__)
#define WITH_INSTRUCTION __attribute__((target("crc")))
#else
#define WITH_INSTRUCTION __attribute__((target("+crc")))
#endif
#define WAY_NAME "ARMv8"
#define TAKE_8(crc, at) __crc32cd((crc), read_8(at))
#define TAKE_1(crc, byte) __crc32cb((crc), (byte))
#if defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif

static int has_instruction(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}
#else

static int has_instruction(void)
{
#if defined(__APPLE__)
    return 1; /* every Arm processor that macOS runs on */
#else
    return 0;
#endif
}
#endif
#endif

#ifdef BY_INSTRUCTION

static inline uint64_t read_8(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t shifted(const uint32_t shift[4][256], uint32_t crc)
{
    return shift[0][crc & 0xff] ^ shift[1][(crc >> 8) & 0xff] ^ shift[2][(crc >> 16) & 0xff] ^ shift[3][crc >> 24];
}

#define THREE_PARTS(part, shift)                                                                                        \
    while (size >= 3 * (part)) {                                                                                        \
        uint32_t second = 0, third = 0;                                                                                 \
        const uint8_t *stop = data + (part);                                                                            \
        do {                                                                                                            \
            crc = TAKE_8(crc, data);                                                                                    \
            second = TAKE_8(second, data + (part));                                                                     \
            third = TAKE_8(third, data + 2 * (part));                                                                   \
            data += 8;                                                                                                  \
        } while (data < stop);                                                                                          \
        crc = shifted(shift, crc) ^ second;                                                                             \
        crc = shifted(shift, crc) ^ third;                                                                              \
        data += 2 * (part);                                                                                             \
        size -= 3 * (part);                                                                                             \
    }

WITH_INSTRUCTION static uint32_t by_instruction(uint32_t crc, const uint8_t *data, size_t size)
{
    THREE_PARTS(LONG_PART, long_shift)
    THREE_PARTS(SHORT_PART, short_shift)
    while (size >= 8) {
        crc = TAKE_8(crc, data);
        data += 8;
        size -= 8;
    }
    while (size--)
        crc = TAKE_1(crc, *data++);
    return crc;
}

#endif

#ifdef BY_FOLDING

#define WITH_FOLDING __attribute__((target("avx512f,avx512vl,avx512dq,vpclmulqdq,pclmul,sse4.2")))
#define FOLDED_FROM 512

static int has_folding(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("pclmul");
}

/* `part`, moved by the distance that the factors stand for, onto `onto`. */
WITH_FOLDING static inline __m512i folded(__m512i part, __m512i factors, __m512i onto)
{
    __m512i low = _mm512_clmulepi64_epi128(part, factors, 0x00);
    __m512i high = _mm512_clmulepi64_epi128(part, factors, 0x11);
    return _mm512_ternarylogic_epi64(low, high, onto, 0x96);
}

WITH_FOLDING static uint32_t by_folding(uint32_t crc, const uint8_t *data, size_t size)
{
    if (size < FOLDED_FROM)
        return by_instruction(crc, data, size);
    const __m512i by_256 = _mm512_broadcast_i32x4(_mm_setr_epi32((int)0xdcb17aa4, 0, (int)0xb9e02b86, 0));
    const __m512i by_64 = _mm512_broadcast_i32x4(_mm_setr_epi32(0x740eef02, 0, (int)0x9e4addf8, 0));
    const __m512i by_48_32_16_0 = _mm512_setr_epi32(
        0x1c291d04, 0, (int)0xddc0152b, 0, 0x3da6d0cb, 0, (int)0xba4fc28e, 0, (int)0xf20c0dfe, 0, 0x493c7d27, 0, 0, 0, 0, 0);
    __m512i first = _mm512_xor_si512(_mm512_loadu_si512(data), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    __m512i second = _mm512_loadu_si512(data + 64);
    __m512i third = _mm512_loadu_si512(data + 128);
    __m512i fourth = _mm512_loadu_si512(data + 192);
    for (data += 256, size -= 256; size >= 256; data += 256, size -= 256) {
        first = folded(first, by_256, _mm512_loadu_si512(data));
        second = folded(second, by_256, _mm512_loadu_si512(data + 64));
        third = folded(third, by_256, _mm512_loadu_si512(data + 128));
        fourth = folded(fourth, by_256, _mm512_loadu_si512(data + 192));
    }
    second = folded(first, by_64, second);
    third = folded(second, by_64, third);
    fourth = folded(third, by_64, fourth);
    for (; size >= 64; data += 64, size -= 64)
        fourth = folded(fourth, by_64, _mm512_loadu_si512(data));
    /* the four parts of 16 bytes onto the last of them, which itself stays as it is */
    __m512i moved = folded(fourth, by_48_32_16_0, _mm512_setzero_si512());
    __m128i sum = _mm_xor_si128(
        _mm_xor_si128(_mm512_castsi512_si128(moved), _mm512_extracti64x2_epi64(moved, 1)),
        _mm_xor_si128(_mm512_extracti64x2_epi64(moved, 2), _mm512_extracti64x2_epi64(fourth, 3)));
    uint64_t half = _mm_crc32_u64(0, (uint64_t)_mm_extract_epi64(sum, 0));
    half = _mm_crc32_u64(half, (uint64_t)_mm_extract_epi64(sum, 1));
    return by_instruction((uint32_t)half, data, size);
}

#endif

void crc32c_begin(void)
{
    if (chosen != NULL)
        return;
    make_table();
    chosen_name = "tables";
    way *found = by_table;
#ifdef BY_INSTRUCTION
    if (has_instruction()) {
        make_shift(long_shift, LONG_PART);
        make_shift(short_shift, SHORT_PART);
        chosen_name = WAY_NAME;
        found = by_instruction;
    }
#endif
#ifdef BY_FOLDING
    if (found == by_instruction && has_folding()) {
        chosen_name = "VPCLMULQDQ";
        found = by_folding;
    }
#endif
    chosen = found;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    return ~chosen(~crc, data, size);
}

const char *crc32c_way(void)
{
    return chosen_name;
}

#define MOST_WITH_LOCK 4096

static PyObject *crc_of(PyObject *arguments, way *taken)
{
    Py_buffer buffer;
    unsigned int before = 0;
    if (!PyArg_ParseTuple(arguments, "y*|I", &buffer, &before))
        return NULL;
    uint32_t crc;
    if (buffer.len <= MOST_WITH_LOCK)
        crc = ~taken(~(uint32_t)before, buffer.buf, (size_t)buffer.len);
    else {
        Py_BEGIN_ALLOW_THREADS
        crc = ~taken(~(uint32_t)before, buffer.buf, (size_t)buffer.len);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLong(crc);
}

static PyObject *crc32c_python(PyObject *module, PyObject *arguments)
{
    (void)module;
    return crc_of(arguments, chosen);
}

static PyObject *crc32c_by_table(PyObject *module, PyObject *arguments)
{
    (void)module;
    return crc_of(arguments, by_table);
}

static PyObject *crc32c_by_instruction(PyObject *module, PyObject *arguments)
{
    (void)module;
#ifdef BY_INSTRUCTION
    return crc_of(arguments, has_instruction() ? by_instruction : by_table);
#else
    return crc_of(arguments, by_table);
#endif
}

PyMethodDef kafkeep_crc32c_methods[] = {
    {"crc32c", crc32c_python, METH_VARARGS, "crc32c(data, before=0): CRC-32C by the fastest way there is."},
    {"crc32c_by_table", crc32c_by_table, METH_VARARGS, "The same by the way that works on every processor."},
    {"crc32c_by_instruction", crc32c_by_instruction, METH_VARARGS,
     "The same by the processor's own instruction, or by tables where it has none."},
    {NULL, NULL, 0, NULL},
};
