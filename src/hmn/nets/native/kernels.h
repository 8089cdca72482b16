/* Kernels in the orders and bases that the passes read, made from torch's and turned back. */
#pragma once
#include "panels.h"

static const float basis4[6][3] = {{0.25f, 0, 0},
                                   {-1 / 6.0f, -1 / 6.0f, -1 / 6.0f},
                                   {-1 / 6.0f, 1 / 6.0f, -1 / 6.0f},
                                   {1 / 24.0f, 1 / 12.0f, 1 / 6.0f},
                                   {1 / 24.0f, -1 / 12.0f, 1 / 6.0f},
                                   {0, 0, 1}};
static const float basis2[4][3] = {{1, 0, 0}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}};

/* G g G^T of every kernel: [n * n][panels of out][in][16]; of the kernels turned by half, in and out exchanged, too. */
void hmn_kernels(const float *kernels, long width, long n, long turned, float *to) {
    const float(*basis)[3] = n == 6 ? basis4 : basis2;
    for (long out = 0; out < width; out += PANEL)
        for (long in = 0; in < width; in++) {
            float g[3][3][PANEL], half[6][3][PANEL];
            for (long o = 0; o < PANEL; o++) {
                const float *k = kernels + (turned ? in * width + out + o : (out + o) * width + in) * 9;
                for (int i = 0; i < 9; i++) g[i / 3][i % 3][o] = k[turned ? 8 - i : i];
            }
            for (int a = 0; a < n; a++)
                for (int j = 0; j < 3; j++)
                    for (int o = 0; o < PANEL; o++)
                        half[a][j][o] = basis[a][0] * g[0][j][o] + basis[a][1] * g[1][j][o] + basis[a][2] * g[2][j][o];
            for (int a = 0; a < n; a++)
                for (int b = 0; b < n; b++) {
                    float *at = to + (((a * n + b) * width + out) * width + in * PANEL);
                    for (int o = 0; o < PANEL; o++)
                        at[o] = basis[b][0] * half[a][0][o] + basis[b][1] * half[a][1][o] + basis[b][2] * half[a][2][o];
                }
        }
}

/* The transpose of hmn_kernels for n = 6: adds to gradients in torch's order. */
void hmn_kernels_adjoint(const float *from, long width, float *gradients) {
    for (long out = 0; out < width; out += PANEL)
        for (long in = 0; in < width; in++) {
            float half[6][3][PANEL] = {{{0}}}, g[9][PANEL] = {{0}};
            for (int a = 0; a < 6; a++)
                for (int b = 0; b < 6; b++) {
                    const float *at = from + (((a * 6 + b) * width + out) * width + in * PANEL);
                    for (int j = 0; j < 3; j++)
                        for (int o = 0; o < PANEL; o++) half[a][j][o] += basis4[b][j] * at[o];
                }
            for (int a = 0; a < 6; a++)
                for (int i = 0; i < 9; i++)
                    for (int o = 0; o < PANEL; o++) g[i][o] += basis4[a][i / 3] * half[a][i % 3][o];
            for (long o = 0; o < PANEL; o++)
                for (int i = 0; i < 9; i++) gradients[((out + o) * width + in) * 9 + i] += g[i][o];
        }
}

/* Of the first layer, [out][channels][3][3]: by taps [panels][tap_panels * 16][16], or back to front where `turned`,
[panels][tap_panels][16 out][16 taps]. Taps are ordered by row, column, channel. */
static long of_first(long tap, long channels) { return tap % channels * 9 + tap / channels; }
void hmn_first_kernels(const float *kernels, long width, long channels, long tap_panels, long turned, float *to) {
    long taps = 9 * channels, room = tap_panels * PANEL;
    for (long p = 0; p < width / PANEL; p++)
        for (long tap = 0; tap < room; tap++)
            for (long o = 0; o < PANEL; o++) {
                long at = turned ? ((p * tap_panels + tap / PANEL) * PANEL + o) * PANEL + tap % PANEL
                                 : (p * room + tap) * PANEL + o;
                to[at] = tap < taps ? kernels[(p * PANEL + o) * taps + of_first(tap, channels)] : 0;
            }
}
void hmn_first_kernels_adjoint(const float *from, long width, long channels, long tap_panels, float *gradients) {
    long taps = 9 * channels, room = tap_panels * PANEL;
    for (long out = 0; out < width; out++)
        for (long tap = 0; tap < taps; tap++)
            gradients[out * taps + of_first(tap, channels)] += from[(out / PANEL * room + tap) * PANEL + out % PANEL];
}
