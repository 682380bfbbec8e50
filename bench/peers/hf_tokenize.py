"""Speed of huggingface/tokenizers on one thread, as bench/tokenize.c measures ours.

    python bench/peers/hf_tokenize.py FOLDER FILE [RUNS]

FOLDER holds tokenizer.json. The lines of FILE are encoded one by one; the best run counts, in processor time."""
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402

start = time.process_time()
tok = Tokenizer.from_file(os.path.join(sys.argv[1], "tokenizer.json"))
load = time.process_time() - start
with open(sys.argv[2], "rb") as f:
    data = f.read()
lines = data.decode("utf-8").split("\n")
if lines[-1] == "":
    lines.pop()
best = 1e30
for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 5):
    start = time.process_time()
    out = [tok.encode(line, add_special_tokens=False) for line in lines]
    best = min(best, time.process_time() - start)
tokens = sum(len(x.ids) for x in out)
total = sum(sum(x.ids) for x in out)
print(f"tokenizers: load {load:.3f} s; {len(data)} bytes, {tokens} tokens (sum {total}), "
      f"{len(data) / best * 1e-6:.2f} MB/s, {tokens / best * 1e-6:.2f} M tokens/s")
