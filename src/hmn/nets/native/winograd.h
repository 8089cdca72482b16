/* 3x3 convolutions of panels by Winograd's minimal filtering (Lavin and Gray, arXiv:1509.09308): stride 1, one pixel of
zeros around. F(4x4, 3x3) has a quarter of the multiplications; F(2x2, 3x3) fewer than half, and less rounding than a
direct convolution. */
#pragma once
#include "panels.h"

/* ---- Winograd's changes of basis; tiles are numbered image by image, row by row ---- */

/* Pointers to the n x n pixels of a tile (steps of s, one pixel of zeros around the image) in the image's first panel;
zeros are marked by NULL. */
static inline void window(const float *x, long side, long ty, long tx, int n, int s, const float **at) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            long y = s * ty + i - 1, z = s * tx + j - 1;
            int inside = y >= 0 && y < side && z >= 0 && z < side;
            at[i * n + j] = inside ? x + (y * side + z) * PANEL : NULL;
        }
}

#define INTO4(d0, d1, d2, d3, d4, d5, e)                                                                               \
    do {                                                                                                               \
        vec a_ = d4 - 4 * d2, b_ = d3 - 4 * d1, c_ = d4 - d2, e_ = 2 * (d3 - d1);                                      \
        e[0] = 4 * d0 - 5 * d2 + d4, e[1] = a_ + b_, e[2] = a_ - b_;                                                   \
        e[3] = c_ + e_, e[4] = c_ - e_, e[5] = 4 * d1 - 5 * d3 + d5;                                                   \
    } while (0)
#define OUTOF4(m0, m1, m2, m3, m4, m5, y)                                                                              \
    do {                                                                                                               \
        vec p_ = m1 + m2, q_ = m1 - m2, r_ = m3 + m4, s_ = m3 - m4;                                                    \
        y[0] = m0 + p_ + r_, y[1] = q_ + 2 * s_, y[2] = p_ + 4 * r_, y[3] = q_ + 8 * s_ + m5;                          \
    } while (0)
#define ADJOINT4(y0, y1, y2, y3, e)                                                                                    \
    do {                                                                                                               \
        vec p_ = y0 + y2, q_ = y1 + y3, r_ = y0 + 4 * y2, s_ = 2 * y1 + 8 * y3;                                        \
        e[0] = y0, e[1] = p_ + q_, e[2] = p_ - q_, e[3] = r_ + s_, e[4] = r_ - s_, e[5] = y3;                          \
    } while (0)

/* B^T d B of tiles from..to: V[36][panel][to - from][16]. */
static void into4(const float *x, long xs, long side, long np, long from, long to, float *V) {
    long across = side / 4, hw = side * side * PANEL, count = to - from, vs = np * count * PANEL;
    for (long t = from; t < to; t++) {
        const float *at[36];
        long image = t / (across * across), cell = t % (across * across);
        window(x + image * xs, side, cell / across, cell % across, 6, 4, at);
        for (long p = 0; p < np; p++)
            for (int h = 0; h < 16; h += 8) {
                vec d[6][6], e[6][6];
                long off = p * hw + h;
                for (int i = 0; i < 6; i++) {
                    vec r[6];
                    for (int j = 0; j < 6; j++) r[j] = at[6 * i + j] ? load(at[6 * i + j] + off) : every(0);
                    INTO4(r[0], r[1], r[2], r[3], r[4], r[5], d[i]);
                }
                float *v = V + (p * count + t - from) * PANEL + h;
                for (int j = 0; j < 6; j++) {
                    INTO4(d[0][j], d[1][j], d[2][j], d[3][j], d[4][j], d[5][j], e[0]);
                    for (int i = 0; i < 6; i++) store(v + (6 * i + j) * vs, e[0][i]);
                }
            }
    }
}

/* A^T M A of tiles from..to into images y. */
static void outof4(const float *M, long side, long np, long from, long to, float *y, long ys) {
    long across = side / 4, hw = side * side * PANEL, count = to - from, ms = np * count * PANEL;
    for (long t = from; t < to; t++) {
        long image = t / (across * across), cell = t % (across * across);
        float *o = y + image * ys + (4 * (cell / across) * side + 4 * (cell % across)) * PANEL;
        for (long p = 0; p < np; p++)
            for (int h = 0; h < 16; h += 8) {
                const float *m = M + (p * count + t - from) * PANEL + h;
                vec d[6][4];
                for (int i = 0; i < 6; i++) {
                    vec r[6];
                    for (int j = 0; j < 6; j++) r[j] = load(m + (6 * i + j) * ms);
                    OUTOF4(r[0], r[1], r[2], r[3], r[4], r[5], d[i]);
                }
                for (int j = 0; j < 4; j++) {
                    vec r[4];
                    OUTOF4(d[0][j], d[1][j], d[2][j], d[3][j], d[4][j], d[5][j], r);
                    for (int i = 0; i < 4; i++) store(o + p * hw + (i * side + j) * PANEL + h, r[i]);
                }
            }
    }
}

/* A y A^T, the transpose of outof4. */
static void adjoint4(const float *y, long ys, long side, long np, long from, long to, float *D) {
    long across = side / 4, hw = side * side * PANEL, count = to - from, ds = np * count * PANEL;
    for (long t = from; t < to; t++) {
        long image = t / (across * across), cell = t % (across * across);
        const float *o = y + image * ys + (4 * (cell / across) * side + 4 * (cell % across)) * PANEL;
        for (long p = 0; p < np; p++)
            for (int h = 0; h < 16; h += 8) {
                vec d[4][6];
                for (int i = 0; i < 4; i++) {
                    vec r[4];
                    for (int j = 0; j < 4; j++) r[j] = load(o + p * hw + (i * side + j) * PANEL + h);
                    ADJOINT4(r[0], r[1], r[2], r[3], d[i]);
                }
                float *v = D + (p * count + t - from) * PANEL + h;
                for (int j = 0; j < 6; j++) {
                    vec r[6];
                    ADJOINT4(d[0][j], d[1][j], d[2][j], d[3][j], r);
                    for (int i = 0; i < 6; i++) store(v + (6 * i + j) * ds, r[i]);
                }
            }
    }
}

static void into2(const float *x, long xs, long side, long np, long from, long to, float *V) {
    long across = side / 2, hw = side * side * PANEL, count = to - from, vs = np * count * PANEL;
    for (long t = from; t < to; t++) {
        const float *at[16];
        long image = t / (across * across), cell = t % (across * across);
        window(x + image * xs, side, cell / across, cell % across, 4, 2, at);
        for (long p = 0; p < np; p++)
            for (int h = 0; h < 16; h += 8) {
                vec d[4][4];
                long off = p * hw + h;
                for (int i = 0; i < 4; i++) {
                    vec r[4];
                    for (int j = 0; j < 4; j++) r[j] = at[4 * i + j] ? load(at[4 * i + j] + off) : every(0);
                    d[i][0] = r[0] - r[2], d[i][1] = r[1] + r[2], d[i][2] = r[2] - r[1], d[i][3] = r[1] - r[3];
                }
                float *v = V + (p * count + t - from) * PANEL + h;
                for (int j = 0; j < 4; j++) {
                    store(v + j * vs, d[0][j] - d[2][j]);
                    store(v + (4 + j) * vs, d[1][j] + d[2][j]);
                    store(v + (8 + j) * vs, d[2][j] - d[1][j]);
                    store(v + (12 + j) * vs, d[1][j] - d[3][j]);
                }
            }
    }
}

static void outof2(const float *M, long side, long np, long from, long to, float *y, long ys) {
    long across = side / 2, hw = side * side * PANEL, count = to - from, ms = np * count * PANEL;
    for (long t = from; t < to; t++) {
        long image = t / (across * across), cell = t % (across * across);
        float *o = y + image * ys + (2 * (cell / across) * side + 2 * (cell % across)) * PANEL;
        for (long p = 0; p < np; p++)
            for (int h = 0; h < 16; h += 8) {
                const float *m = M + (p * count + t - from) * PANEL + h;
                vec a[4], b[4];
                for (int i = 0; i < 4; i++) {
                    vec r0 = load(m + 4 * i * ms), r1 = load(m + (4 * i + 1) * ms);
                    vec r2 = load(m + (4 * i + 2) * ms), r3 = load(m + (4 * i + 3) * ms);
                    a[i] = r0 + r1 + r2, b[i] = r1 - r2 - r3;
                }
                float *q = o + p * hw + h;
                store(q, a[0] + a[1] + a[2]);
                store(q + PANEL, b[0] + b[1] + b[2]);
                store(q + side * PANEL, a[1] - a[2] - a[3]);
                store(q + (side + 1) * PANEL, b[1] - b[2] - b[3]);
            }
    }
}

/* ---- convolutions of n images, image strides xs and ys ---- */

typedef struct {
    float *V, *M; /* room for `room` floats each */
    long room;
} Scratch;

static long tiles_at_once(const Scratch *s, int frequencies, long np) {
    long count = s->room / (frequencies * np * PANEL);
    return count < 6 ? count : count / 6 * 6;
}

/* By F(2x2, 3x3). */
static void convolve2(Scratch *s, long n, const float *x, long xs, long side, long np, const float *U, float *y,
                      long ys) {
    long all = n * (side / 2) * (side / 2), step = tiles_at_once(s, 16, np), us = np * np * 256;
    for (long from = 0; from < all; from += step) {
        long to = from + step < all ? from + step : all, count = to - from, fs = np * count * PANEL;
        into2(x, xs, side, np, from, to, s->V);
        for (int f = 0; f < 16; f++)
            product(count, np, np, s->V + f * fs, count * PANEL, U + f * us, s->M + f * fs, count * PANEL, 0);
        outof2(s->M, side, np, from, to, y, ys);
    }
}

/* By F(4x4, 3x3): of x with U, plus of x2 with U2 where there is one. */
static void convolve4(Scratch *s, long n, const float *x, const float *x2, long xs, long side, long np, const float *U,
                      const float *U2, float *y, long ys) {
    long all = n * (side / 4) * (side / 4), step = tiles_at_once(s, 36, np), us = np * np * 256;
    for (long from = 0; from < all; from += step) {
        long to = from + step < all ? from + step : all, count = to - from, fs = np * count * PANEL;
        into4(x, xs, side, np, from, to, s->V);
        for (int f = 0; f < 36; f++)
            product(count, np, np, s->V + f * fs, count * PANEL, U + f * us, s->M + f * fs, count * PANEL, 0);
        if (x2) {
            into4(x2, xs, side, np, from, to, s->V);
            for (int f = 0; f < 36; f++)
                product(count, np, np, s->V + f * fs, count * PANEL, U2 + f * us, s->M + f * fs, count * PANEL, 1);
        }
        outof4(s->M, side, np, from, to, y, ys);
    }
}

/* Adds the kernel's gradient, in the basis of F(4x4, 3x3), to G. */
static void kernel_gradient(Scratch *s, long n, const float *x, long xs, const float *dz, long dzs, long side, long np,
                            float *G) {
    long all = n * (side / 4) * (side / 4), step = tiles_at_once(s, 36, np), gs = np * np * 256;
    for (long from = 0; from < all; from += step) {
        long to = from + step < all ? from + step : all, count = to - from, fs = np * count * PANEL;
        into4(x, xs, side, np, from, to, s->V);
        adjoint4(dz, dzs, side, np, from, to, s->M);
        for (int f = 0; f < 36; f++)
            outer(count, np, np, s->V + f * fs, count * PANEL, s->M + f * fs, count * PANEL, G + f * gs);
    }
}
