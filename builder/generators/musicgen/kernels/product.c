// x @ weight.T in bfloat16 for few rows, as in a decoder's step: the weights are read once, in the order of the memory.
// Built at its first use (see linear.py). A row's sums do not depend on the other rows.

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define LANES 16           // outputs in a vector
#define PANEL (2 * LANES)  // outputs computed at once
#define TILE 8             // rows computed at once: 16 sums, enough to hide the latency of an addition
#define BATCH 64           // rows whose sums are kept for a panel
#define STRETCH 64         // pairs of inputs for all rows before the next ones: 8 KB of weights, in the L1 cache

// Adds a stretch of inputs to the sums of a few rows, and prefetches the weights of the next stretch.
static inline void add(const uint16_t *x, const uint16_t *panel, __m512 (*kept)[2], int64_t pairs, int64_t inputs,
                       const int rows) {
    __m512 sums[TILE][2];
    for (int row = 0; row < rows; row++) sums[row][0] = kept[row][0], sums[row][1] = kept[row][1];
    for (int64_t k = 0; k < pairs; k++, panel += 2 * PANEL) {
        __m512bh first = (__m512bh)_mm512_loadu_si512(panel);
        __m512bh second = (__m512bh)_mm512_loadu_si512(panel + PANEL);
        _mm_prefetch((const char *)(panel + 2 * PANEL * STRETCH), _MM_HINT_T0);
        _mm_prefetch((const char *)(panel + 2 * PANEL * STRETCH + PANEL), _MM_HINT_T0);
        for (int row = 0; row < rows; row++) {
            int32_t pair;
            memcpy(&pair, x + row * inputs + 2 * k, sizeof pair);
            __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
            sums[row][0] = _mm512_dpbf16_ps(sums[row][0], first, both);
            sums[row][1] = _mm512_dpbf16_ps(sums[row][1], second, both);
        }
    }
    for (int row = 0; row < rows; row++) kept[row][0] = sums[row][0], kept[row][1] = sums[row][1];
}

static inline __m512 widened(const uint16_t *x) {
    const __m256i numbers = _mm256_loadu_si256((const __m256i *)x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(numbers), 16));
}

// One panel of outputs for at most BATCH rows; `onto`: added to the output.
static void pass(const uint16_t *x, const uint16_t *panel, const float *bias, uint16_t *out, int64_t rows,
                 int64_t inputs, int64_t outputs, int onto) {
    __m512 sums[BATCH][2];
    for (int64_t row = 0; row < rows; row++)
        for (int half = 0; half < 2; half++) {
            __m512 first = bias ? _mm512_loadu_ps(bias + half * LANES) : _mm512_setzero_ps();
            if (onto) first = _mm512_add_ps(first, widened(out + row * outputs + half * LANES));
            sums[row][half] = first;
        }
    for (int64_t k = 0; k < inputs / 2; k += STRETCH) {
        const int64_t pairs = k + STRETCH < inputs / 2 ? STRETCH : inputs / 2 - k;
        const uint16_t *weights = panel + k * 2 * PANEL, *at = x + 2 * k;
        int64_t row = 0;
        for (; row + TILE <= rows; row += TILE) add(at + row * inputs, weights, sums + row, pairs, inputs, TILE);
        for (; row + 4 <= rows; row += 4) add(at + row * inputs, weights, sums + row, pairs, inputs, 4);
        for (; row + 2 <= rows; row += 2) add(at + row * inputs, weights, sums + row, pairs, inputs, 2);
        for (; row < rows; row++) add(at + row * inputs, weights, sums + row, pairs, inputs, 1);
    }
    for (int64_t row = 0; row < rows; row++)
        for (int half = 0; half < 2; half++)
            _mm256_storeu_si256((__m256i *)(out + row * outputs + half * LANES),
                                (__m256i)_mm512_cvtneps_pbh(sums[row][half]));
}

// x [rows, inputs] -> out [rows, outputs], both contiguous; outputs a multiple of PANEL, inputs of 2. bias [outputs] or
// null; `onto`: out is added to. packed [outputs / PANEL, inputs / 2, PANEL, 2].
void multiply(const uint16_t *x, const uint16_t *packed, const float *bias, uint16_t *out, int64_t rows, int64_t inputs,
              int64_t outputs, int onto, int threads) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
    for (int64_t n = 0; n < outputs; n += PANEL)
        for (int64_t row = 0; row < rows; row += BATCH)
            pass(x + row * inputs, packed + n * inputs, bias ? bias + n : 0, out + row * outputs + n,
                 rows - row < BATCH ? rows - row : BATCH, inputs, outputs, onto);
}
