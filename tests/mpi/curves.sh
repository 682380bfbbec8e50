#!/bin/sh
# The loss curve of 2 and 4 ranks is that of one process within rounding; equal numbers of ranks give
# equal bits, also through a stop and --resume; another number of ranks goes on where one stopped.
#
# Embeddings are the same bits whichever rank computes them, and so is all that follows from them
# (rewards, alignment, dE). Only the LoRA gradients differ, by the order of their sums: R token rows
# a step give R additions, each rounding a partial sum of at most |g| by 2^-24, so |dg| <= R 2^-24 |g|
# in either run. An AdamW step moves a weight by at most lr, whatever the size of its gradient. Where
# |g_j| is larger than its error the step changes by lr |dg_j| / |g_j|, where it is smaller by at most
# 2 lr; either way the loss changes by at most 2 lr |dg_j| for each weight, together
#     2 lr sum_j |dg_j|  <=  2 lr sqrt(P) R 2^-24 |g|        for P weights
# a step, and k steps add up. Printing to 6 digits adds 1e-6 of the value. The norm of the gradient is
# held to R 2^-24 of itself in the first step, before weights differ.
set -u
. "$SOURCE/tests/mpi/common.sh"
steps=12
run() { # OUT [FLAGS]: batches that neither 2 nor 4 divide
    train "$@" --steps $steps --batch-source 5 --batch-target 7 --eval val="$toy/val.jsonl" \
        --critic-iters 2 --maps 8 --lr 1e-3 --save-every 6 --lambda 0.1 >"$1.json" 2>"$1.log" || failed "$1 failed" "$1.log"
}
series() { # OUT: step, then the numbers that are compared
    grep '"event":"step"' "$1/metrics.jsonl" |
        sed -E 's/.*"step":([0-9]+),.*"tokens":([0-9]+),.*"loss":([^,]*),.*"grad_norm":([^,]*),.*"critic_loss":([^,]*),"w1":([^,]*),.*/\1 \2 \3 \4 \5 \6/'
}
weights() { (cd "$1" && sha256sum adapter_model.safetensors checkpoints/*/*.safetensors); }

N= run one
train plan --dry-run >plan.json 2>log || failed "no plan" log
count=$(sed -E 's/.*"params":\{"total":[0-9]+,"trainable":([0-9]+).*/\1/' plan.json)
[ "$count" -gt 100 ] || failed "no number of weights" plan.json
for n in 2 4; do
    N=$n run "n$n"
    series one >one.series
    series "n$n" >"n$n.series"
    [ "$(wc -l <one.series)" = $steps ] || failed "expected $steps steps" one.series
    paste -d' ' one.series "n$n.series" | awk -v lr=1e-3 -v p="$count" -v n="$n" '
        function off(a, b) { return a > b ? a - b : b - a }
        function size(a) { return a < 0 ? -a : a }
        { step = $1; rows = $2; g = $4; gamma = rows / 2 ^ 24
          if ($7 != step || $8 != rows) { print "step " step ": other rows"; exit 1 }
          drift += 2 * lr * sqrt(p) * gamma * g
          first = first == "" ? 2 * gamma * g + 2e-6 * g : first
          for (k = 3; k <= 6; k++) {
              limit = k == 4 ? (NR == 1 ? first : -1) : (NR == 1 ? 0 : drift) + 2e-6 * size($k)
              if (limit < 0) continue
              d = off($k, $(k + 6)); if (d / limit > worst) worst = d / limit
              if (d > limit) { print "step " step ", column " k ": " $k " and " $(k + 6) ", limit " limit; bad = 1 }
          } }
        END { printf "curves: %d ranks, %d steps, worst %.3f of the limit (%.2g at the end)\n", n, NR, worst, drift
              exit bad }' || failed "$n ranks leave the curve of one process"
    grep -o '"n":60.*' "n$n.json" >/dev/null || failed "no evaluation" "n$n.json"
done

# The same number of ranks: the same bits, in one go or in two.
N=2 run again
[ "$(weights n2)" = "$(weights again)" ] || failed "two runs of 2 ranks differ"
steps=6
N=2 run cut
cp -r cut other
steps=12
N=2 run cut --resume
[ "$(weights n2)" = "$(weights cut)" ] || failed "a resumed run of 2 ranks differs"
N= run other --resume # one process goes on where two ranks stopped
[ "$(grep -c '"event":"step"' other/metrics.jsonl)" = 12 ] || failed "expected 12 steps" other.log
[ "$(find n4 -name '*.tmp-*' | wc -l)" = 0 ] || failed "stray files"

# Where the model is frozen, embeddings are computed once, a share by each rank, and never again; with
# no LoRA gradient to add up, what 2 ranks train is what one process trains, to the last bit.
frozen() { # OUT
    LORA=0 run "$@" --adaptor 4 --method mmd
}
N= frozen alone
N=2 frozen both
[ "$(series alone)" = "$(series both)" ] || failed "ranks of a frozen model leave the curve" both.log
N=2 frozen filled --dry-run
case $(cat filled.json) in *'"trunk_seconds":0.0,'* | *'"trunk_seconds":0,'*) failed "ranks of a frozen model keep no embeddings" filled.json ;; esac
[ "$(weights alone)" = "$(weights both)" ] || failed "ranks of a frozen model train another adaptor"
