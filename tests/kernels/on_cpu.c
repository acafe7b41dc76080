/* The kernels that choose latents, run on the processor: threads of it for those of a block, one block after the other. Reads n_rows, d, rule and
   k (uint32), then z [n_rows, d], a, b and c [d] (float32) from its input; writes what `find` finds [n_rows, 4], then all latents and
   all values. */

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNEL static
#define __device__
#define __shared__ static
#define __syncthreads() pthread_barrier_wait(&barrier)
#define atomicAdd(at, n) __sync_fetch_and_add(at, n)
#define __fadd_rn(x, y) ((x) + (y))
#define __fmul_rn(x, y) ((x) * (y))

static pthread_barrier_t barrier;
static _Thread_local struct { unsigned x; } threadIdx, blockIdx;

static void atomicMin(unsigned *at, unsigned n)
{
    unsigned old = *at;
    while (n < old && !__sync_bool_compare_and_swap(at, old, n))
        old = *at;
}

static unsigned __float_as_uint(float value)
{
    unsigned bits;
    memcpy(&bits, &value, 4);
    return bits;
}

#include "../../src/device/choose/choose.cu"

static unsigned n_rows, d, rule, k, *found, *starts, *latents;
static float *z, *a, *b, *c, *values;
static int writes;

static void *thread(void *number)
{
    threadIdx.x = (unsigned)(size_t)number;
    for (blockIdx.x = 0; blockIdx.x < n_rows; blockIdx.x++) {
        if (writes)
            write(z, a, b, c, d, rule, k, found, starts, latents, values);
        else
            find(z, a, b, c, d, rule, k, found);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void launch(int second)
{
    pthread_t threads[THREADS];
    writes = second;
    for (size_t t = 0; t < THREADS; t++)
        if (pthread_create(&threads[t], NULL, thread, (void *)t))
            exit(1);
    for (size_t t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
}

static void *numbers(size_t n)
{
    void *p = malloc(4 * n + 4);
    if (!p || fread(p, 4, n, stdin) != n)
        exit(1);
    return p;
}

int main(void)
{
    unsigned *head = numbers(4);
    n_rows = head[0], d = head[1], rule = head[2], k = head[3];
    z = numbers((size_t)n_rows * d), a = numbers(d), b = numbers(d), c = numbers(d);
    found = calloc(n_rows, 16), starts = calloc(n_rows, 4);
    pthread_barrier_init(&barrier, NULL, THREADS);
    launch(0);
    unsigned total = 0;
    for (unsigned r = 0; r < n_rows; r++) {
        starts[r] = total;
        total += found[4 * r + COUNT];
    }
    latents = calloc(total + 1, 4), values = calloc(total + 1, 4);
    launch(1);
    fwrite(found, 16, n_rows, stdout);
    fwrite(latents, 4, total, stdout);
    fwrite(values, 4, total, stdout);
    return 0;
}
