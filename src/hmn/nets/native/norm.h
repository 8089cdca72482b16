/* Instance norm, ReLU and the mean over 2x2, forwards, backwards, and the tangents of both. */
#pragma once
#include "panels.h"

#define EPSILON 1e-5f /* of torch.nn.GroupNorm */

/* The four positions that are pooled into one, as offsets. */
#define EACH_POOLED(side)                                                                                              \
    for (long y_ = 0, cell = 0; y_ < (side); y_ += 2)                                                                  \
        for (long x_ = 0, first = y_ * (side)*PANEL; x_ < (side); x_ += 2, first += 2 * PANEL, cell += PANEL)
#define EACH_OF_FOUR(side) for (long q = 0, at = first; q < 4; q++, at = first + ((q & 1) + (q >> 1) * (side)) * PANEL)

static void norm_forward(const float *z, long side, long np, const float *scale, const float *shift, float *mean,
                         float *rstd, float *x) {
    long hw = side * side;
    for (long p = 0; p < np; p++, z += hw * PANEL, x += hw / 4 * PANEL)
        for (int h = 0; h < 16; h += 8) {
            long c = p * PANEL + h;
            vec s0 = every(0), s1 = every(0), v0 = every(0), v1 = every(0);
            for (long i = 0; i < hw * PANEL; i += 2 * PANEL) s0 += load(z + i + h), s1 += load(z + i + PANEL + h);
            vec m = (s0 + s1) / (float)hw;
            for (long i = 0; i < hw * PANEL; i += 2 * PANEL) {
                vec a = load(z + i + h) - m, b = load(z + i + PANEL + h) - m;
                v0 += a * a, v1 += b * b;
            }
            vec r = (v0 + v1) / (float)hw + EPSILON;
            for (int i = 0; i < 8; i++) r[i] = 1.0f / sqrtf(r[i]);
            store(mean + c, m), store(rstd + c, r);
            vec g = load(scale + c), b = load(shift + c);
            EACH_POOLED(side) {
                vec sum = every(0);
                EACH_OF_FOUR(side) {
                    vec a = (load(z + at + h) - m) * r * g + b;
                    sum += where(~(a <= 0), a); /* what is not a number stays so */
                }
                store(x + cell + h, 0.25f * sum);
            }
        }
}

/* dz of one image from dx; its sums over positions of the masked gradient, and of that times u. */
static void norm_backward(const float *z, long side, long np, const float *scale, const float *shift, const float *mean,
                          const float *rstd, const float *dx, float *sum_g, float *sum_gu, float *dz) {
    long hw = side * side;
    for (long p = 0; p < np; p++, z += hw * PANEL, dx += hw / 4 * PANEL, dz += hw * PANEL)
        for (int h = 0; h < 16; h += 8) {
            long c = p * PANEL + h;
            vec m = load(mean + c), r = load(rstd + c), g = load(scale + c), b = load(shift + c);
            vec sg = every(0), su = every(0);
            EACH_POOLED(side) {
                vec d = 0.25f * load(dx + cell + h);
                EACH_OF_FOUR(side) {
                    vec u = (load(z + at + h) - m) * r;
                    vec e = where(u * g + b > 0, d);
                    sg += e, su += e * u;
                }
            }
            store(sum_g + c, sg), store(sum_gu + c, su);
            vec s1 = g * sg / (float)hw, s2 = g * su / (float)hw;
            EACH_POOLED(side) {
                vec d = 0.25f * load(dx + cell + h);
                EACH_OF_FOUR(side) {
                    vec u = (load(z + at + h) - m) * r;
                    store(dz + at + h, (where(u * g + b > 0, d) * g - s1 - u * s2) * r);
                }
            }
        }
}

/* Tangent of norm_forward along zt; mean of zt and of u zt. */
static void tangent_forward(const float *z, const float *zt, long side, long np, const float *scale, const float *shift,
                            const float *mean, const float *rstd, float *mean_t, float *mean_ut, float *xt) {
    long hw = side * side;
    for (long p = 0; p < np; p++, z += hw * PANEL, zt += hw * PANEL, xt += hw / 4 * PANEL)
        for (int h = 0; h < 16; h += 8) {
            long c = p * PANEL + h;
            vec m = load(mean + c), r = load(rstd + c), g = load(scale + c), b = load(shift + c);
            vec s0 = every(0), q0 = every(0), s1 = every(0), q1 = every(0);
            for (long i = 0; i < hw * PANEL; i += 2 * PANEL) {
                vec t0 = load(zt + i + h), t1 = load(zt + i + PANEL + h);
                s0 += t0, q0 += t0 * ((load(z + i + h) - m) * r);
                s1 += t1, q1 += t1 * ((load(z + i + PANEL + h) - m) * r);
            }
            vec mt = (s0 + s1) / (float)hw, q_ = (q0 + q1) / (float)hw;
            store(mean_t + c, mt), store(mean_ut + c, q_);
            EACH_POOLED(side) {
                vec sum = every(0);
                EACH_OF_FOUR(side) {
                    vec u = (load(z + at + h) - m) * r;
                    sum += where(u * g + b > 0, (load(zt + at + h) - mt - u * q_) * r * g);
                }
                store(xt + cell + h, 0.25f * sum);
            }
        }
}

/* Tangent of norm_backward (over zt, which it replaces by the tangent of dz), and dz itself. */
static void tangent_backward(const float *z, float *zt, long side, long np, const float *scale, const float *shift,
                             const float *mean, const float *rstd, const float *mean_t, const float *mean_ut,
                             const float *dx, const float *dxt, const float *sum_g, const float *sum_gu, float *dz) {
    long hw = side * side;
    for (long p = 0; p < np;
         p++, z += hw * PANEL, zt += hw * PANEL, dx += hw / 4 * PANEL, dxt += hw / 4 * PANEL, dz += hw * PANEL)
        for (int h = 0; h < 16; h += 8) {
            long c = p * PANEL + h;
            vec m = load(mean + c), r = load(rstd + c), g = load(scale + c), b = load(shift + c);
            vec mt = load(mean_t + c), q_ = load(mean_ut + c);
            vec s1 = g * load(sum_g + c) / (float)hw, s2 = g * load(sum_gu + c) / (float)hw;
            vec a1 = every(0), a2 = every(0);
            EACH_POOLED(side) {
                vec d = 0.25f * load(dx + cell + h) * g, dt = 0.25f * load(dxt + cell + h) * g;
                EACH_OF_FOUR(side) {
                    vec u = (load(z + at + h) - m) * r, ut = (load(zt + at + h) - mt - u * q_) * r;
                    mask on = u * g + b > 0;
                    a1 += where(on, dt), a2 += where(on, dt * u + d * ut);
                }
            }
            vec s1t = a1 / (float)hw, s2t = a2 / (float)hw, rq = r * q_;
            EACH_POOLED(side) {
                vec d = 0.25f * load(dx + cell + h) * g, dt = 0.25f * load(dxt + cell + h) * g;
                EACH_OF_FOUR(side) {
                    vec u = (load(z + at + h) - m) * r, ut = (load(zt + at + h) - mt - u * q_) * r;
                    mask on = u * g + b > 0;
                    vec base = where(on, d) - s1 - u * s2;
                    store(dz + at + h, base * r);
                    store(zt + at + h, (where(on, dt) - s1t - ut * s2 - u * s2t - base * rq) * r);
                }
            }
        }
}
