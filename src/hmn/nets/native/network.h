/* What the passes are given, what they keep, and a thread's scratch. */
#pragma once
#include "winograd.h"

#define MAX_DEPTH 8
#define TAP_ROOM 96 /* of one position: 9 taps of up to 8 channels, and what is copied beyond */

typedef struct {
    long depth, panels, channels, height, pad, classes, block;
    long tap_panels;                 /* panels of 16 that hold channels * 9 taps */
    const float *first;              /* [panels][tap_panels * 16][16]: kernels of the first layer */
    const float *forward[MAX_DEPTH]; /* of the later ones, in the basis of F(2x2): [16][panels][width][16] */
    const float *kernels[MAX_DEPTH]; /* in the basis of F(4x4): [36][panels][width][16] */
    const float *turned[MAX_DEPTH];  /* turned by half and transposed, in the basis of F(4x4) */
    const float *scale[MAX_DEPTH], *shift[MAX_DEPTH];
    const float *head, *bias; /* [classes][features by panels], [classes] */
} Network;

typedef struct {                       /* a direction in the weights */
    const float *first, *first_turned; /* [panels][tap_panels * 16][16], [panels][tap_panels][16][16] */
    const float *own_turned;           /* the network's first layer, in that order */
    const float *kernels[MAX_DEPTH], *turned[MAX_DEPTH];
    const float *head; /* as the network's, or NULL: along no head */
} Direction;

typedef struct { /* a thread's sums */
    float *first, *kernels[MAX_DEPTH], *scale[MAX_DEPTH], *shift[MAX_DEPTH], *head, *bias;
} Gradients;

static long side_of(const Network *net, long layer) { return (net->height + 2 * net->pad - 2) >> layer; }
static long features(const Network *net) {
    long side = side_of(net, net->depth);
    return net->panels * side * side * PANEL;
}

/* What a pass keeps of an image for the second one, as offsets. z of the first layer is not kept. */
typedef struct {
    long z[MAX_DEPTH], x[MAX_DEPTH], dx[MAX_DEPTH], mean[MAX_DEPTH], rstd[MAX_DEPTH], sum_g[MAX_DEPTH],
        sum_gu[MAX_DEPTH];
    long chances, size;
    long stage[MAX_DEPTH], stages; /* of x alone, and of all layers together */
} Layout;

static Layout layout(const Network *net) {
    Layout l;
    long at = 0, width = net->panels * PANEL;
    l.stages = 0;
    for (long i = 0; i < net->depth; i++) {
        long side = side_of(net, i), hw = side * side;
        l.stage[i] = l.stages, l.stages += hw / 4 * width;
        l.z[i] = at, at += i ? hw * width : 0;
        l.x[i] = at, at += hw / 4 * width;
        l.dx[i] = at, at += hw / 4 * width;
        l.mean[i] = at, at += width;
        l.rstd[i] = at, at += width;
        l.sum_g[i] = at, at += width;
        l.sum_gu[i] = at, at += width;
    }
    l.chances = at, at += net->classes;
    l.size = (at + 15) / 16 * 16;
    return l;
}

long hmn_kept_floats(const Network *net) { return layout(net).size; }
long hmn_stage_floats(const Network *net) { return layout(net).stages; }

/* Floats of scratch that a thread needs: for a pass over blocks of images. */
static long room(const Network *net) {
    long width = net->panels * PANEL, want = 36 * 16 * width * net->block / 2;
    return want < 36 * 6 * width ? 36 * 6 * width : want;
}

/* Parts of a thread's scratch, one after another from `base`; the functions return how many floats that takes. */
static float *take(float **next, long count) {
    float *part = *next;
    *next += (count + 15) / 16 * 16;
    return part;
}
static long positions(const Network *net) { return side_of(net, 0) * side_of(net, 0); }
static long padded_floats(const Network *net) {
    long wide = net->height + 2 * net->pad;
    return wide * wide * net->channels + 8; /* read beyond the last run */
}

typedef struct {
    Scratch s;
    float *kept, *z0, *dz, *taps, *padded, *slopes;
} FirstRoom;

static long first_room(const Network *net, float *base, FirstRoom *r) {
    long hw = positions(net), all = hw * net->panels * PANEL, block = net->block;
    float *next = base;
    r->s.room = room(net), r->s.V = take(&next, room(net)), r->s.M = take(&next, room(net));
    r->kept = take(&next, block * layout(net).size);
    r->z0 = take(&next, block * all);
    r->dz = take(&next, block > 4 ? block * all / 4 : all);
    r->taps = take(&next, net->tap_panels * hw * PANEL);
    r->padded = take(&next, padded_floats(net));
    r->slopes = take(&next, net->classes);
    return next - base;
}

typedef struct {
    Scratch s;
    float *z0, *zt[MAX_DEPTH], *mean_t[MAX_DEPTH], *mean_ut[MAX_DEPTH], *x, *xt, *dz, *taps, *padded, *slopes;
} SecondRoom;

static long second_room(const Network *net, float *base, SecondRoom *r) {
    long hw = positions(net), width = net->panels * PANEL, block = net->block;
    float *next = base;
    r->s.room = room(net), r->s.V = take(&next, room(net)), r->s.M = take(&next, room(net));
    r->z0 = take(&next, block * hw * width);
    for (long d = 0; d < net->depth; d++) {
        r->zt[d] = take(&next, block * side_of(net, d) * side_of(net, d) * width);
        r->mean_t[d] = take(&next, block * width);
        r->mean_ut[d] = take(&next, block * width);
    }
    r->x = take(&next, block * hw / 4 * width);
    r->xt = take(&next, block * hw / 4 * width);
    r->dz = take(&next, block > 4 ? block * hw / 4 * width : hw * width);
    r->taps = take(&next, net->tap_panels * hw * PANEL);
    r->padded = take(&next, padded_floats(net));
    r->slopes = take(&next, net->classes);
    return next - base;
}

long hmn_scratch_floats(const Network *net) {
    FirstRoom one;
    SecondRoom two;
    long a = first_room(net, NULL, &one), b = second_room(net, NULL, &two);
    return a > b ? a : b;
}
