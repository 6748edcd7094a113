// Attention of one query a row over a cache of keys and values, for the step of an autoregressive decoder.
// Built at its first use (see attention.py), with SIZE (of a head, a multiple of 8) and SCALE defined. One pass over
// the keys and one over the values without copies: the speed is limited by the memory.

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if SIZE % 32 == 0
#define LANES 16
#elif SIZE % 16 == 0
#define LANES 8
#else
#define LANES 4
#endif
#define BLOCK (2 * LANES)
#define BLOCKS (SIZE / BLOCK)
#define AHEAD 32  // positions that are prefetched
_Static_assert(SIZE % BLOCK == 0, "heads are a multiple of 8 wide");

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef struct { floats a, b; } block;  // BLOCK numbers: first and second half; of bfloat16 the even and the odd ones

static inline block load_float32(const float *x) {
    block out;
    memcpy(&out, x, sizeof out);
    return out;
}

static inline void store_float32(float *x, block value) { memcpy(x, &value, sizeof value); }

static inline block load_bfloat16(const uint16_t *x) {  // two in a word: converted by a shift and a mask
    words pairs;
    memcpy(&pairs, x, sizeof pairs);
    return (block){(floats)(pairs << 16), (floats)(pairs & 0xFFFF0000)};
}

static inline words rounded(floats x) {  // to the upper half, to nearest, ties to even; NaN stays NaN
    words bits = (words)x, nan = (words)(x != x);
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000 & ~nan) | (0x7FC00000 & nan);
}

static inline void store_bfloat16(uint16_t *x, block value) {
    words pairs = (rounded(value.a) >> 16) | rounded(value.b);
    memcpy(x, &pairs, sizeof pairs);
}

// Prefetches what is read AHEAD positions later: of `rows`, or after their end, of what is read next.
#define ASK(rows, next, t, length)                                                                              \
    do {                                                                                                        \
        const char *at = (const char *)((t) + AHEAD < (length) ? (rows) + ((t) + AHEAD) * SIZE                  \
                                                               : (next) + ((t) + AHEAD - (length)) * SIZE);     \
        for (size_t line = 0; line < SIZE * sizeof *(rows); line += 64) __builtin_prefetch(at + line);          \
    } while (0)

static inline float sum(floats x) {
    float total = 0.0f;
    for (int lane = 0; lane < LANES; lane++) total += x[lane];
    return total;
}

// exp(x) for x <= 0 to 2 ulp: 2^n times a polynomial on [-ln2/2, ln2/2] (Cody, Waite 1980). NaN stays NaN.
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = floorf(x * 1.44269504f + 0.5f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { int32_t bits; float value; } scale = {((int32_t)n + 127) << 23};
    return p * scale.value;
}

// query, new_keys, new_values: [rows, heads, SIZE], rows `stride` apart; keys, values: [rows, heads, capacity, SIZE];
// out: [rows, heads, SIZE]. Row r attends to its first lengths[r] positions, or to `length` if lengths is null. New
// keys and values, if not null, are first written to position length - 1.
#define ATTEND(KIND, TYPE)                                                                                             \
    static void attend_##KIND(const TYPE *query, const TYPE *new_key, const TYPE *new_value, TYPE *keys, TYPE *values, \
                              TYPE *out, float *scores, int64_t length, const TYPE *next) {                            \
        if (new_key) {                                                                                                 \
            memcpy(keys + (length - 1) * SIZE, new_key, SIZE * sizeof(TYPE));                                          \
            memcpy(values + (length - 1) * SIZE, new_value, SIZE * sizeof(TYPE));                                      \
        }                                                                                                              \
        block q[BLOCKS], found[BLOCKS];                                                                                \
        for (int i = 0; i < BLOCKS; i++) {                                                                             \
            q[i] = load_##KIND(query + i * BLOCK);                                                                     \
            q[i] = (block){q[i].a * SCALE, q[i].b * SCALE};                                                            \
            found[i] = (block){{0}, {0}};                                                                              \
        }                                                                                                              \
        float highest = -INFINITY, total = 0.0f;                                                                       \
        for (int64_t t = 0; t < length; t++) {                                                                         \
            floats dot = {0};                                                                                          \
            ASK(keys, values, t, length);                                                                              \
            for (int i = 0; i < BLOCKS; i++) {                                                                         \
                block key = load_##KIND(keys + t * SIZE + i * BLOCK);                                                  \
                dot += q[i].a * key.a + q[i].b * key.b;                                                                \
            }                                                                                                          \
            scores[t] = sum(dot);                                                                                      \
        }                                                                                                              \
        for (int64_t t = 0; t < length; t++) highest = scores[t] > highest ? scores[t] : highest;                      \
        for (int64_t t = 0; t < length; t++) scores[t] = exponential(scores[t] - highest);                             \
        for (int64_t t = 0; t < length; t++) total += scores[t];                                                       \
        for (int64_t t = 0; t < length; t++) {                                                                         \
            ASK(values, next, t, length);                                                                              \
            for (int i = 0; i < BLOCKS; i++) {                                                                         \
                block value = load_##KIND(values + t * SIZE + i * BLOCK);                                              \
                found[i].a += scores[t] * value.a;                                                                     \
                found[i].b += scores[t] * value.b;                                                                     \
            }                                                                                                          \
        }                                                                                                              \
        for (int i = 0; i < BLOCKS; i++)                                                                               \
            store_##KIND(out + i * BLOCK, (block){found[i].a / total, found[i].b / total});                            \
    }                                                                                                                  \
    void attend_##KIND##_rows(const TYPE *query, const TYPE *new_keys, const TYPE *new_values, TYPE *keys,             \
                              TYPE *values, TYPE *out, const int64_t *lengths, int64_t length, int64_t rows,           \
                              int64_t heads, int64_t capacity, int64_t stride, int threads) {                          \
        _Pragma("omp parallel num_threads(threads)") {                                                                 \
            float *scores = malloc(sizeof(float) * capacity);                                                          \
            _Pragma("omp for collapse(2) schedule(static)") for (int64_t row = 0; row < rows; row++) {                 \
                for (int64_t head = 0; head < heads; head++) {                                                         \
                    int64_t at = row * stride + head * SIZE, place = row * heads + head;                               \
                    TYPE *first = keys + place * capacity * SIZE;                                                      \
                    attend_##KIND(query + at, new_keys ? new_keys + at : 0, new_values ? new_values + at : 0, first,   \
                                  values + place * capacity * SIZE, out + place * SIZE, scores,                        \
                                  lengths ? lengths[row] : length, first + capacity * SIZE);                           \
                }                                                                                                      \
            }                                                                                                          \
            free(scores);                                                                                              \
        }                                                                                                              \
    }

ATTEND(float32, float)
ATTEND(bfloat16, uint16_t)
