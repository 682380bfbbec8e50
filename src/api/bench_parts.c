#include "api/bench_parts.h"

#include "base/clock.h"

static const char *const part_name[DI_PART_COUNT] = {"products", "attention", "norms",     "glu",
                                                     "lora",     "critic",    "optimizer", "moves"};

static di_parts *parts_of(const di_device *dev)
{
    return (di_parts *)(uintptr_t)dev->ops; /* table is its first member, and it is ours */
}

/* One wrapper an operation: `params` as in tensor/ops.h, `args` the same without types. */
#define TIMED(part, op, params, args)                                                              \
    static void timed_##op params                                                                  \
    {                                                                                              \
        di_parts *p = parts_of(dev);                                                               \
        double started = di_now();                                                                 \
                                                                                                   \
        p->real->op args;                                                                          \
        p->seconds[part] += di_now() - started;                                                    \
    }

TIMED(DI_PART_PRODUCTS, linear_forward,
      (di_device * dev, const di_packed *w, const di_mat *x, di_mat *y, int add),
      (dev, w, x, y, add))
TIMED(DI_PART_PRODUCTS, linear_backward,
      (di_device * dev, const di_packed *w, const di_mat *dy, di_mat *dx, int add),
      (dev, w, dy, dx, add))
TIMED(DI_PART_LORA, lora_forward, (di_device * dev, const di_lora_args *a), (dev, a))
TIMED(DI_PART_LORA, lora_backward, (di_device * dev, const di_lora_args *a), (dev, a))
TIMED(DI_PART_MOVES, embed,
      (di_device * dev, const di_weight *table, const int32_t *id, float scale, di_mat *x),
      (dev, table, id, scale, x))
TIMED(DI_PART_NORMS, norm_forward, (di_device * dev, const di_norm_args *a), (dev, a))
TIMED(DI_PART_NORMS, norm_backward, (di_device * dev, const di_norm_args *a), (dev, a))
TIMED(DI_PART_ATTENTION, rope,
      (di_device * dev, di_mat *x, const int32_t *position, const float *table, int64_t heads,
       int64_t head_dim, int inverse),
      (dev, x, position, table, heads, head_dim, inverse))
TIMED(DI_PART_ATTENTION, attention_forward, (di_device * dev, const di_attention_args *a), (dev, a))
TIMED(DI_PART_ATTENTION, attention_backward, (di_device * dev, const di_attention_args *a),
      (dev, a))
TIMED(DI_PART_GLU, glu_forward, (di_device * dev, di_act kind, const di_mat *gu, di_mat *h),
      (dev, kind, gu, h))
TIMED(DI_PART_GLU, glu_backward,
      (di_device * dev, di_act kind, const di_mat *gu, const di_mat *dh, di_mat *dgu),
      (dev, kind, gu, dh, dgu))
TIMED(DI_PART_MOVES, copy, (di_device * dev, const di_mat *x, di_mat *y, int add), (dev, x, y, add))
TIMED(DI_PART_MOVES, pool_forward,
      (di_device * dev, const di_batch *b, const di_mat *x, int mean, di_mat *e),
      (dev, b, x, mean, e))
TIMED(DI_PART_MOVES, pool_backward,
      (di_device * dev, const di_batch *b, const di_mat *de, int mean, di_mat *dx),
      (dev, b, de, mean, dx))
TIMED(DI_PART_OPTIMIZER, adam, (di_device * dev, const di_adam_args *a), (dev, a))
TIMED(DI_PART_CRITIC, critic_forward,
      (di_device * dev, const di_critic *d, const di_mat *x, float *out, void *work),
      (dev, d, x, out, work))
TIMED(DI_PART_CRITIC, critic_input_grad,
      (di_device * dev, const di_critic *d, const di_mat *x, di_mat *q, void *work),
      (dev, d, x, q, work))
TIMED(DI_PART_CRITIC, critic_backward,
      (di_device * dev, const di_critic *d, const di_mat *x, const float *dout, di_critic *grad,
       void *work),
      (dev, d, x, dout, grad, work))

static double timed_sum_squares(di_device *dev, const float *x, int64_t n)
{
    di_parts *p = parts_of(dev);
    double started = di_now(), sum = p->real->sum_squares(dev, x, n);

    p->seconds[DI_PART_OPTIMIZER] += di_now() - started;
    return sum;
}

static double timed_critic_penalty(di_device *dev, const di_critic *d, const di_mat *x,
                                   di_gp_kind kind, float lambda, di_critic *grad,
                                   double *mean_norm, void *work)
{
    di_parts *p = parts_of(dev);
    double started = di_now();
    double gp = p->real->critic_penalty(dev, d, x, kind, lambda, grad, mean_norm, work);

    p->seconds[DI_PART_CRITIC] += di_now() - started;
    return gp;
}

void di_parts_start(di_parts *p, di_device *dev)
{
    *p = (di_parts){.table = *dev->ops, .real = dev->ops};
#define TIME(op) p->table.op = timed_##op
    TIME(linear_forward);
    TIME(linear_backward);
    TIME(lora_forward);
    TIME(lora_backward);
    TIME(embed);
    TIME(norm_forward);
    TIME(norm_backward);
    TIME(rope);
    TIME(attention_forward);
    TIME(attention_backward);
    TIME(glu_forward);
    TIME(glu_backward);
    TIME(copy);
    TIME(pool_forward);
    TIME(pool_backward);
    TIME(adam);
    TIME(sum_squares);
    TIME(critic_forward);
    TIME(critic_input_grad);
    TIME(critic_backward);
    TIME(critic_penalty);
#undef TIME
    dev->ops = &p->table;
}

void di_parts_stop(di_parts *p, di_device *dev)
{
    dev->ops = p->real;
}

json_t *di_parts_json(const di_parts *p, double total)
{
    json_t *out = json_object();
    int failed = 0;

    for (int i = 0; i < DI_PART_COUNT; i++) {
        di_json_put(out, part_name[i], json_real(p->seconds[i]), &failed);
        total -= p->seconds[i];
    }
    di_json_put(out, "rest", json_real(total), &failed);
    return di_json_whole(out, failed);
}
