/* Passes of a ConvNet (blocks of 3x3 convolution, instance norm, ReLU and mean over 2x2; one linear layer) on a CPU.

A thread takes blocks of a few images through a whole pass, so that what it works on stays in its cache; its sums of
gradients are its own. Convolutions after the first are Winograd's: F(2x2, 3x3) forwards, since rounding there decides
the ReLUs' masks, F(4x4, 3x3) elsewhere. The convolutions' biases, which instance norm takes away, do not appear. */
#include "kernels.h"
#include "network.h"
#include "norm.h"

/* The nine neighbours of every position side by side, by panels of taps: [tap_panels][positions][16]. */
static void neighbours(const Network *net, const float *image, float *padded, float *taps) {
    long side = side_of(net, 0), wide = net->height + 2 * net->pad, run = 3 * net->channels, hw = side * side;
    long room = net->tap_panels * PANEL;
    memset(padded, 0, sizeof(float) * padded_floats(net));
    for (long c = 0; c < net->channels; c++)
        for (long y = 0; y < net->height; y++)
            for (long x = 0; x < net->height; x++)
                padded[((y + net->pad) * wide + x + net->pad) * net->channels + c] = *image++;
    for (long y = 0; y < side; y++)
        for (long x = 0; x < side; x++) {
            float all[TAP_ROOM];
            store(all + room - PANEL, every(0)), store(all + room - 8, every(0));
            for (long row = 0; row < 3; row++) { /* what is read beyond a run is overwritten, or meets kernels of 0 */
                const float *from = padded + ((y + row) * wide + x) * net->channels;
                for (long k = 0; k < run; k += 8) store(all + row * run + k, load(from + k));
            }
            for (long p = 0; p < net->tap_panels; p++) {
                float *to = taps + (p * hw + y * side + x) * PANEL;
                store(to, load(all + p * PANEL)), store(to + 8, load(all + p * PANEL + 8));
            }
        }
}

/* The transpose of `neighbours`: sums what every position gives to its neighbours. */
static void scattered(const Network *net, const float *taps, float *padded, float *image) {
    long side = side_of(net, 0), wide = net->height + 2 * net->pad, run = 3 * net->channels, hw = side * side;
    memset(padded, 0, sizeof(float) * padded_floats(net));
    for (long y = 0; y < side; y++)
        for (long x = 0; x < side; x++) {
            float all[TAP_ROOM];
            for (long p = 0; p < net->tap_panels; p++) {
                const float *from = taps + (p * hw + y * side + x) * PANEL;
                store(all + p * PANEL, load(from)), store(all + p * PANEL + 8, load(from + 8));
            }
            for (long row = 0; row < 3; row++) {
                float *to = padded + ((y + row) * wide + x) * net->channels;
                long k = 0;
                for (; k + 8 <= run; k += 8) store(to + k, load(to + k) + load(all + row * run + k));
                for (; k < run; k++) to[k] += all[row * run + k];
            }
        }
    for (long c = 0; c < net->channels; c++)
        for (long y = 0; y < net->height; y++)
            for (long x = 0; x < net->height; x++)
                *image++ = padded[((y + net->pad) * wide + x + net->pad) * net->channels + c];
}

static void first_layer(const Network *net, const float *taps, const float *kernels, float *z) {
    long side = side_of(net, 0), hw = side * side;
    for (long from = 0; from < hw; from += 192) {
        long count = from + 192 < hw ? 192 : hw - from;
        product(count, net->panels, net->tap_panels, taps + from * PANEL, hw * PANEL, kernels, z + from * PANEL,
                hw * PANEL, 0);
    }
}

static float dot(const float *a, const float *b, long n) {
    vec s0 = every(0), s1 = every(0);
    for (long i = 0; i < n; i += 16) s0 += load(a + i) * load(b + i), s1 += load(a + i + 8) * load(b + i + 8);
    s0 += s1;
    float sum = 0;
    for (int i = 0; i < 8; i++) sum += s0[i];
    return sum;
}

static void add_scaled(float *to, const float *from, float by, long n) {
    for (long i = 0; i < n; i += 8) store(to + i, load(to + i) + every(by) * load(from + i));
}

static void add_to(float *to, const float *from, long n) {
    for (long i = 0; i < n; i += 8) store(to + i, load(to + i) + load(from + i));
}

/* What the head says of one image [classes]. */
static void head_logits(const Network *net, const float *x, float *logits) {
    long f = features(net);
    for (long c = 0; c < net->classes; c++) logits[c] = dot(x, net->head + c * f, f) + net->bias[c];
}

/* Cross-entropy of one image with a target of any weight: the loss, the chances, and its slopes by the logits. */
static double cross_entropy(long classes, const float *logits, const float *target, float *chances, float *slopes) {
    float top = logits[0];
    double weight = 0, total = 0, loss = 0;
    for (long c = 1; c < classes; c++) top = logits[c] > top ? logits[c] : top;
    for (long c = 0; c < classes; c++) total += chances[c] = expf(logits[c] - top), weight += target[c];
    for (long c = 0; c < classes; c++) {
        if (target[c] != 0) loss -= target[c] * (logits[c] - top - log(total));
        chances[c] /= (float)total;
        slopes[c] = (float)(chances[c] * weight - target[c]);
    }
    return loss;
}

static void head_backward(const Network *net, const float *slopes, float *dx) {
    long f = features(net);
    memset(dx, 0, sizeof(float) * f);
    for (long c = 0; c < net->classes; c++) add_scaled(dx, net->head + c * f, slopes[c], f);
}

/* A block of images forwards: into `k`, what is kept of them, and z of the first layer. */
static void forward_block(const Network *net, const Layout *l, FirstRoom *r, long count, const float *images,
                          float *k) {
    long np = net->panels, first = positions(net) * np * PANEL, pixels = net->channels * net->height * net->height;
    for (long d = 0; d < net->depth; d++) {
        long side = side_of(net, d);
        if (d) convolve2(&r->s, count, k + l->x[d - 1], l->size, side, np, net->forward[d], k + l->z[d], l->size);
        for (long i = 0; i < count; i++) {
            float *ki = k + i * l->size, *z = d ? ki + l->z[d] : r->z0 + i * first;
            if (d == 0)
                neighbours(net, images + i * pixels, r->padded, r->taps), first_layer(net, r->taps, net->first, z);
            norm_forward(z, side, np, net->scale[d], net->shift[d], ki + l->mean[d], ki + l->rstd[d], ki + l->x[d]);
        }
    }
}

/* The first layer's share in an image's gradient: taps (a scratch) = dz by the kernels `turned`, or plus that. */
static void first_layer_back(const Network *net, const float *dz, const float *turned, float *taps, int add) {
    long hw = positions(net), np = net->panels;
    for (long at = 0; at < hw; at += 192) {
        long m = at + 192 < hw ? 192 : hw - at;
        for (long p = 0; p < np; p++)
            product(m, net->tap_panels, 1, dz + (p * hw + at) * PANEL, 0, turned + p * net->tap_panels * 256,
                    taps + at * PANEL, hw * PANEL, add || p > 0);
    }
}

/* A block of images backwards from dx of the last layer in `k`: sums of gradients, or (where `result` is not NULL) the
images' own. `given` is added to dx where the passes come by: by images, then layers, in the order of x. */
static void backward_block(const Network *net, const Layout *l, FirstRoom *r, long count, const float *images, float *k,
                           const float *given, const Gradients *sums, const float *turned, float *result) {
    long np = net->panels, width = np * PANEL, hw0 = positions(net), pixels = net->channels * net->height * net->height;
    for (long d = net->depth - 1; d >= 0; d--) {
        long side = side_of(net, d), hw = side * side;
        for (long i = 0; i < count; i++) {
            float *ki = k + i * l->size, *z = d ? ki + l->z[d] : r->z0 + i * hw0 * width;
            float *dz = d ? r->dz + i * hw * width : r->dz;
            if (given) add_to(ki + l->dx[d], given + i * l->stages + l->stage[d], hw / 4 * width);
            norm_backward(z, side, np, net->scale[d], net->shift[d], ki + l->mean[d], ki + l->rstd[d], ki + l->dx[d],
                          ki + l->sum_g[d], ki + l->sum_gu[d], dz);
            if (sums && sums->scale[d]) {
                add_to(sums->scale[d], ki + l->sum_gu[d], width);
                add_to(sums->shift[d], ki + l->sum_g[d], width);
            }
            if (d) continue;
            if (result) {
                first_layer_back(net, dz, turned, r->taps, 0);
                scattered(net, r->taps, r->padded, result + i * pixels);
                continue;
            }
            neighbours(net, images + i * pixels, r->padded, r->taps);
            for (long at = 0; at < hw; at += 192)
                outer(at + 192 < hw ? 192 : hw - at, net->tap_panels, np, r->taps + at * PANEL, hw * PANEL,
                      dz + at * PANEL, hw * PANEL, sums->first);
        }
        if (d == 0) break;
        if (!result)
            kernel_gradient(&r->s, count, k + l->x[d - 1], l->size, r->dz, hw * width, side, np, sums->kernels[d]);
        convolve4(&r->s, count, r->dz, NULL, hw * width, side, np, net->turned[d], NULL, k + l->dx[d - 1], l->size);
    }
}

#define EACH_BLOCK                                                                                                     \
    for (long from = thread * net->block, count; count = from + net->block < n ? net->block : n - from, from < n;      \
         from += threads * net->block)

static void first_share(const Network *net, long n, const float *images, const float *targets, const Gradients *sums,
                        float *kept, float *scratch, double *losses, float *logits, long thread, long threads) {
    Layout l = layout(net);
    FirstRoom r;
    first_room(net, scratch, &r);
    long pixels = net->channels * net->height * net->height, last = net->depth - 1, f = features(net);
    EACH_BLOCK {
        float *k = kept ? kept + from * l.size : r.kept;
        forward_block(net, &l, &r, count, images + from * pixels, k);
        for (long i = 0; i < count; i++) {
            float *ki = k + i * l.size, *x = ki + l.x[last], *own = logits + (from + i) * net->classes;
            head_logits(net, x, own);
            losses[from + i] =
                cross_entropy(net->classes, own, targets + (from + i) * net->classes, ki + l.chances, r.slopes);
            head_backward(net, r.slopes, ki + l.dx[last]);
            for (long c = 0; sums->head && c < net->classes; c++)
                add_scaled(sums->head + c * f, x, r.slopes[c], f), sums->bias[c] += r.slopes[c];
        }
        backward_block(net, &l, &r, count, images + from * pixels, k, NULL, sums, NULL, NULL);
    }
}

static void second_share(const Network *net, const Direction *along, long n, const float *images, const float *targets,
                         const float *kept, float *scratch, float *result, long thread, long threads) {
    Layout l = layout(net);
    SecondRoom r;
    second_room(net, scratch, &r);
    long np = net->panels, width = np * PANEL, pixels = net->channels * net->height * net->height,
         last = net->depth - 1;
    long hw0 = positions(net), quarter = hw0 / 4 * width, f = features(net);
    EACH_BLOCK {
        const float *k = kept + from * l.size;
        for (long d = 0; d < net->depth; d++) {
            long side = side_of(net, d), hw = side * side;
            /* Kept x lie further apart than tangents: brought together to be convolved as one. */
            for (long i = 0; d && i < count; i++)
                memcpy(r.x + i * quarter, k + i * l.size + l.x[d - 1], sizeof(float) * hw * width);
            if (d)
                convolve4(&r.s, count, r.x, r.xt, quarter, side, np, along->kernels[d], net->kernels[d], r.zt[d],
                          hw * width);
            for (long i = 0; i < count; i++) {
                const float *ki = k + i * l.size, *z = d ? ki + l.z[d] : r.z0 + i * hw * width;
                float *zt = r.zt[d] + i * hw * width;
                if (d == 0) {
                    neighbours(net, images + (from + i) * pixels, r.padded, r.taps);
                    first_layer(net, r.taps, net->first, r.z0 + i * hw * width);
                    first_layer(net, r.taps, along->first, zt);
                }
                tangent_forward(z, zt, side, np, net->scale[d], net->shift[d], ki + l.mean[d], ki + l.rstd[d],
                                r.mean_t[d] + i * width, r.mean_ut[d] + i * width, r.xt + i * quarter);
            }
        }
        for (long i = 0; i < count; i++) {
            const float *ki = k + i * l.size, *chances = ki + l.chances, *target = targets + (from + i) * net->classes;
            double mean = 0, weight = 0;
            for (long c = 0; c < net->classes; c++) {
                r.slopes[c] = dot(r.xt + i * quarter, net->head + c * f, f);
                if (along->head) r.slopes[c] += dot(ki + l.x[last], along->head + c * f, f);
                mean += chances[c] * r.slopes[c], weight += target[c];
            }
            for (long c = 0; c < net->classes; c++) r.slopes[c] = (float)(weight * chances[c] * (r.slopes[c] - mean));
            head_backward(net, r.slopes, r.x + i * quarter);
            for (long c = 0; along->head && c < net->classes; c++)
                add_scaled(r.x + i * quarter, along->head + c * f, (float)(weight * chances[c] - target[c]), f);
        }
        for (long d = last; d >= 0; d--) {
            long side = side_of(net, d), hw = side * side;
            for (long i = 0; i < count; i++) {
                const float *ki = k + i * l.size, *z = d ? ki + l.z[d] : r.z0 + i * hw * width;
                float *zt = r.zt[d] + i * hw * width, *dz = d ? r.dz + i * hw * width : r.dz;
                tangent_backward(z, zt, side, np, net->scale[d], net->shift[d], ki + l.mean[d], ki + l.rstd[d],
                                 r.mean_t[d] + i * width, r.mean_ut[d] + i * width, ki + l.dx[d], r.x + i * quarter,
                                 ki + l.sum_g[d], ki + l.sum_gu[d], dz);
                if (d) continue;
                first_layer_back(net, zt, along->own_turned, r.taps, 0);
                first_layer_back(net, dz, along->first_turned, r.taps, 1);
                scattered(net, r.taps, r.padded, result + (from + i) * pixels);
            }
            if (d)
                convolve4(&r.s, count, r.dz, r.zt[d], hw * width, side, np, along->turned[d], net->turned[d], r.x,
                          quarter);
        }
    }
}

static void stages_share(const Network *net, long n, const float *images, float *kept, float *scratch, float *stages,
                         float *logits, long thread, long threads) {
    Layout l = layout(net);
    FirstRoom r;
    first_room(net, scratch, &r);
    long pixels = net->channels * net->height * net->height;
    EACH_BLOCK {
        float *k = kept ? kept + from * l.size : r.kept;
        forward_block(net, &l, &r, count, images + from * pixels, k);
        for (long i = 0; i < count; i++) {
            const float *ki = k + i * l.size;
            for (long d = 0; stages && d < net->depth; d++)
                memcpy(stages + (from + i) * l.stages + l.stage[d], ki + l.x[d],
                       sizeof(float) * (d + 1 < net->depth ? l.stage[d + 1] : l.stages) - sizeof(float) * l.stage[d]);
            head_logits(net, ki + l.x[net->depth - 1], logits + (from + i) * net->classes);
        }
    }
}

static void back_share(const Network *net, long n, const float *images, const float *given, const float *slopes,
                       const float *turned, float *kept, float *scratch, float *result, long thread, long threads) {
    Layout l = layout(net);
    FirstRoom r;
    first_room(net, scratch, &r);
    long pixels = net->channels * net->height * net->height, first = positions(net) * net->panels * PANEL;
    EACH_BLOCK {
        float *k = kept + from * l.size;
        for (long i = 0; i < count; i++) {
            neighbours(net, images + (from + i) * pixels, r.padded, r.taps);
            first_layer(net, r.taps, net->first, r.z0 + i * first);
            head_backward(net, slopes + (from + i) * net->classes, k + i * l.size + l.dx[net->depth - 1]);
        }
        backward_block(net, &l, &r, count, NULL, k, given + from * l.stages, NULL, turned, result + from * pixels);
    }
}

/* ---- what is called: `scratch` holds hmn_scratch_floats for each thread, `sums` one element for each ---- */

#define EACH_THREAD                                                                                                    \
    _Pragma("omp parallel for num_threads(threads) schedule(static, 1)") for (long t = 0; t < threads; t++)

/* Cross-entropies [n] with targets [n][classes], logits [n][classes], and sums of gradients. What is `kept` (n times
hmn_kept_floats, or NULL) is for hmn_second. */
void hmn_first(const Network *net, long n, const float *images, const float *targets, const Gradients *sums,
               float *kept, float *scratch, double *losses, float *logits, long threads) {
    long size = hmn_scratch_floats(net);
    EACH_THREAD first_share(net, n, images, targets, sums + t, kept, scratch + t * size, losses, logits, t, threads);
}

/* Derivative of the images' gradients along a direction in the weights, from what hmn_first kept. */
void hmn_second(const Network *net, const Direction *along, long n, const float *images, const float *targets,
                const float *kept, float *scratch, float *result, long threads) {
    long size = hmn_scratch_floats(net);
    EACH_THREAD second_share(net, along, n, images, targets, kept, scratch + t * size, result, t, threads);
}

/* Every layer's output [n][hmn_stage_floats] (or NULL) and logits; what is `kept` (or NULL) is for hmn_back. */
void hmn_stages(const Network *net, long n, const float *images, float *kept, float *scratch, float *stages,
                float *logits, long threads) {
    long size = hmn_scratch_floats(net);
    EACH_THREAD stages_share(net, n, images, kept, scratch + t * size, stages, logits, t, threads);
}

/* The images' gradients of a loss whose slopes by every layer's output are `given`, and by the logits `slopes`. */
void hmn_back(const Network *net, long n, const float *images, const float *given, const float *slopes,
              const float *turned, float *kept, float *scratch, float *result, long threads) {
    long size = hmn_scratch_floats(net);
    EACH_THREAD back_share(net, n, images, given, slopes, turned, kept, scratch + t * size, result, t, threads);
}
