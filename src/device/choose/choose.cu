/* Which latents does each row of products keep? One block of THREADS threads for a row; the same choice as src/sae/selection.rs makes, ties
   and non-finite values included.

   `find` counts what a row keeps; the host adds the counts up, and `write` writes the row's latents, ascending, where they belong.
   KERNEL is `extern "C" __global__` on a device, for which NVRTC compiles this when it is first needed. Tests compile it as C, with threads of the
   processor for those of a block. */

#define THREADS 256

/* What is found of a row. */
#define COUNT 0
#define THRESHOLD 1
#define TIES 2
#define BROKEN 3
#define NONE 0xffffffffu

/* Rules, and what a, b and c are then: [d] each. */
#define ABOVE 0 /* z + a, above b */
#define GATED 1 /* z b + a, where it and z + c are positive */
#define TOP 2 /* the k largest positive z + a */
#define TOP_SIGNED 3 /* the k largest z + a by magnitude */
#define GROUP_MAX 4 /* the largest positive z + a of each of k groups */

/* Whether latent j passes; its value. */
__device__ static int passes(const float *z, const float *a, const float *b, const float *c, unsigned rule, unsigned j, float *value)
{
    float v = rule == GATED ? __fadd_rn(__fmul_rn(z[j], b[j]), a[j]) : __fadd_rn(z[j], a[j]);
    *value = v;
    if (rule == ABOVE)
        return !(v <= b[j]);
    if (rule == GATED)
        return !(__fadd_rn(z[j], c[j]) <= 0.0f) && !(v <= 0.0f);
    return !((rule == TOP_SIGNED ? fabsf(v) : v) <= 0.0f);
}

/* The order of positive values. */
__device__ static unsigned key_of(float value)
{
    return __float_as_uint(value) & 0x7fffffffu;
}

__device__ static int is_finite(float value)
{
    return key_of(value) < 0x7f800000u;
}

/* Sum over the threads up to this one; `sums` holds THREADS numbers. All threads call it. */
__device__ static unsigned sum_to(unsigned mine, unsigned *sums)
{
    unsigned t = threadIdx.x;
    __syncthreads();
    sums[t] = mine;
    __syncthreads();
    for (unsigned step = 1; step < THREADS; step *= 2) {
        unsigned before = t >= step ? sums[t - step] : 0;
        __syncthreads();
        sums[t] += before;
        __syncthreads();
    }
    return sums[t];
}

/* The largest positive value of group g of `size` latents: its latent, or NONE. A latent that is not finite goes to `broken`. */
__device__ static unsigned best_of(const float *z, const float *a, unsigned g, unsigned size, float *value, unsigned *broken)
{
    unsigned best = NONE;
    float floor = 0.0f;
    for (unsigned j = g * size; j < (g + 1) * size; j++) {
        float v = __fadd_rn(z[j], a[j]);
        if (!(v <= floor)) {
            if (!is_finite(v)) {
                atomicMin(broken, j);
                continue;
            }
            best = j;
            floor = v;
        }
    }
    *value = floor;
    return best;
}

KERNEL void find(const float *z_all, const float *a, const float *b, const float *c, unsigned d, unsigned rule, unsigned k,
                 unsigned *found_all)
{
    __shared__ unsigned counts[THREADS];
    __shared__ unsigned broken;
    __shared__ unsigned threshold;
    __shared__ unsigned ties;
    unsigned t = threadIdx.x;
    const float *z = z_all + (unsigned long long)blockIdx.x * d;
    unsigned *found = found_all + 4ull * blockIdx.x;
    if (t == 0) {
        broken = NONE;
        threshold = 0;
        ties = 0;
    }
    __syncthreads();
    unsigned mine = 0;
    float v;
    if (rule == GROUP_MAX) {
        for (unsigned g = t; g < k; g += THREADS)
            mine += best_of(z, a, g, d / k, &v, &broken) != NONE;
    } else {
        for (unsigned j = t; j < d; j += THREADS) {
            if (passes(z, a, b, c, rule, j, &v)) {
                mine++;
                if (!is_finite(v))
                    atomicMin(&broken, j);
            }
        }
    }
    sum_to(mine, counts);
    unsigned count = counts[THREADS - 1];
    __syncthreads();
    if ((rule == TOP || rule == TOP_SIGNED) && count > k) {
        /* the k-th largest key, eight bits at a time, and how many of its equals are kept */
        if (t == 0)
            ties = k;
        for (int shift = 24; shift >= 0; shift -= 8) {
            counts[t] = 0;
            __syncthreads();
            for (unsigned j = t; j < d; j += THREADS) {
                if (passes(z, a, b, c, rule, j, &v)) {
                    unsigned key = key_of(v);
                    if (shift == 24 || key >> (shift + 8) == threshold >> (shift + 8))
                        atomicAdd(&counts[key >> shift & 255u], 1u);
                }
            }
            __syncthreads();
            if (t == 0) {
                unsigned digit = 255;
                while (counts[digit] < ties) {
                    ties -= counts[digit];
                    digit--;
                }
                threshold |= digit << shift;
            }
            __syncthreads();
        }
        count = k;
    }
    __syncthreads();
    if (t == 0) {
        found[COUNT] = count;
        found[THRESHOLD] = threshold;
        found[TIES] = ties;
        found[BROKEN] = broken;
    }
    __syncthreads();
}

/* `starts[row]` is where a row's entries begin. */
KERNEL void write(const float *z_all, const float *a, const float *b, const float *c, unsigned d, unsigned rule, unsigned k,
                  const unsigned *found_all, const unsigned *starts, unsigned *latents, float *values)
{
    __shared__ unsigned sums[THREADS];
    __shared__ unsigned broken;
    unsigned t = threadIdx.x;
    const float *z = z_all + (unsigned long long)blockIdx.x * d;
    const unsigned *found = found_all + 4ull * blockIdx.x;
    unsigned threshold = found[THRESHOLD], ties = found[TIES];
    unsigned at = starts[blockIdx.x], equals = 0;
    unsigned n = rule == GROUP_MAX ? k : d;
    for (unsigned first = 0; first < n; first += THREADS) {
        unsigned j = first + t;
        float v = 0.0f;
        unsigned takes = 0, equal = 0;
        if (rule == GROUP_MAX) {
            if (j < n) {
                j = best_of(z, a, j, d / k, &v, &broken);
                takes = j != NONE;
            }
        } else if (j < n && passes(z, a, b, c, rule, j, &v)) {
            takes = key_of(v) > threshold || (rule != TOP && rule != TOP_SIGNED);
            equal = !takes && key_of(v) == threshold;
        }
        if (ties > 0) {
            unsigned rank = equals + sum_to(equal, sums);
            equals += sums[THREADS - 1];
            takes |= equal && rank <= ties;
        }
        unsigned rank = sum_to(takes, sums);
        if (takes) {
            latents[at + rank - 1] = j;
            values[at + rank - 1] = v;
        }
        at += sums[THREADS - 1];
    }
    __syncthreads();
}
