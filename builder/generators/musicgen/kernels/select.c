// Keeps the k largest of each row of float32. The k-th is found by its bits, 11 at a time, most significant first. Built
// at its first use (see sampling.py). In a row with NaN the result is not defined, but the NaN remains.

#include <math.h>
#include <stdint.h>
#include <string.h>

#define BITS 11
#define BINS (1 << BITS)

static inline uint32_t key(float x) {  // ordered like the numbers
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float kth_largest(const float *row, int64_t length, int64_t k) {
    uint32_t prefix = 0, known = 0;  // the bits that are known, and their mask
    for (int shift = 32 - BITS;; shift = shift > BITS ? shift - BITS : 0) {
        uint32_t counts[BINS] = {0};
        const uint32_t fresh = ((uint32_t)(BINS - 1) << shift) & ~known;
        for (int64_t i = 0; i < length; i++) {
            const uint32_t bits = key(row[i]);
            counts[(bits & fresh) >> shift] += (bits & known) == prefix;
        }
        int64_t bin = BINS - 1;
        for (; k > counts[bin]; bin--) k -= counts[bin];
        prefix |= (uint32_t)bin << shift;
        known |= fresh;
        if (shift == 0) break;
    }
    const uint32_t bits = prefix & 0x80000000u ? prefix & 0x7FFFFFFFu : ~prefix;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

// x [rows, length], contiguous -> out, the same with -inf for what is less than the row's k-th; 1 <= k <= length.
void keep_largest(const float *x, float *out, int64_t rows, int64_t length, int64_t k, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * length, least = kth_largest(from, length, k);
        float *to = out + row * length;
        for (int64_t i = 0; i < length; i++) to[i] = from[i] < least ? -INFINITY : from[i];
    }
}
