/* Vectors of eight floats, panels of sixteen, and the matrix products on panels that everything here is made of.

An activation is stored as [channels / 16][positions][16]. */
#pragma once
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef float vec __attribute__((vector_size(32), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(32), aligned(4), may_alias));
#define PANEL 16

static inline vec load(const float *p) { return *(const vec *)p; }
static inline void store(float *p, vec v) { *(vec *)p = v; }
static inline vec every(float s) { return (vec){s, s, s, s, s, s, s, s}; }
static inline vec where(mask m, vec v) { return (vec)(m & (mask)v); }

/* C[panel of n][m] = (or +=) sum over k of A[panel of k][m] B[panel of n][k]; strides between panels of A and C. */
#define PRODUCT(R)                                                                                                     \
    static void product_##R(long kp, const float *A, long as, const float *B, float *C, int add) {                     \
        vec c[R][2];                                                                                                   \
        for (int i = 0; i < R; i++) {                                                                                  \
            c[i][0] = add ? load(C + 16 * i) : every(0);                                                               \
            c[i][1] = add ? load(C + 16 * i + 8) : every(0);                                                           \
        }                                                                                                              \
        for (long p = 0; p < kp; p++, A += as)                                                                         \
            for (int k = 0; k < PANEL; k++, B += 16) {                                                                 \
                vec b0 = load(B), b1 = load(B + 8);                                                                    \
                _Pragma("GCC unroll 8") for (int i = 0; i < R; i++) {                                                  \
                    vec a = every(A[16 * i + k]);                                                                      \
                    c[i][0] += a * b0;                                                                                 \
                    c[i][1] += a * b1;                                                                                 \
                }                                                                                                      \
            }                                                                                                          \
        for (int i = 0; i < R; i++) {                                                                                  \
            store(C + 16 * i, c[i][0]);                                                                                \
            store(C + 16 * i + 8, c[i][1]);                                                                            \
        }                                                                                                              \
    }
/* clang-format off */
PRODUCT(1) PRODUCT(2) PRODUCT(3) PRODUCT(4) PRODUCT(5) PRODUCT(6)
/* clang-format on */

static void product(long m, long np, long kp, const float *A, long as, const float *B, float *C, long cs, int add) {
    for (long n = 0; n < np; n++, B += kp * PANEL * 16, C += cs) {
        long i = 0;
        for (; i + 6 <= m; i += 6) product_6(kp, A + 16 * i, as, B, C + 16 * i, add);
        switch (m - i) {
        case 5: product_5(kp, A + 16 * i, as, B, C + 16 * i, add); break;
        case 4: product_4(kp, A + 16 * i, as, B, C + 16 * i, add); break;
        case 3: product_3(kp, A + 16 * i, as, B, C + 16 * i, add); break;
        case 2: product_2(kp, A + 16 * i, as, B, C + 16 * i, add); break;
        case 1: product_1(kp, A + 16 * i, as, B, C + 16 * i, add); break;
        }
    }
}

/* C[panel of n][k] += sum over m of A[panel of k][m] D[panel of n][m]. */
#define OUTER(R)                                                                                                       \
    static void outer_##R(long m, const float *A, const float *D, float *C) {                                          \
        vec c[R][2];                                                                                                   \
        for (int i = 0; i < R; i++) c[i][0] = load(C + 16 * i), c[i][1] = load(C + 16 * i + 8);                        \
        for (long j = 0; j < m; j++, A += 16, D += 16) {                                                               \
            vec d0 = load(D), d1 = load(D + 8);                                                                        \
            _Pragma("GCC unroll 8") for (int i = 0; i < R; i++) {                                                      \
                vec a = every(A[i]);                                                                                   \
                c[i][0] += a * d0;                                                                                     \
                c[i][1] += a * d1;                                                                                     \
            }                                                                                                          \
        }                                                                                                              \
        for (int i = 0; i < R; i++) store(C + 16 * i, c[i][0]), store(C + 16 * i + 8, c[i][1]);                        \
    }
/* clang-format off */
OUTER(4) OUTER(6)
/* clang-format on */

static void outer(long m, long kp, long np, const float *A, long as, const float *D, long ds, float *C) {
    for (long n = 0; n < np; n++, D += ds)
        for (long k = 0; k < kp; k++, C += PANEL * 16) {
            const float *a = A + k * as;
            outer_6(m, a, D, C);
            outer_6(m, a + 6, D, C + 6 * 16);
            outer_4(m, a + 12, D, C + 12 * 16);
        }
}
