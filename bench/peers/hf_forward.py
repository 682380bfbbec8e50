"""transformers' speed of scoring, and memory. usage: hf_forward.py bf16|f32 REPEATS

LlamaForSequenceClassification of SmolLM2-135M's shape, a batch of 12 texts of 170 tokens, no
padding, no gradients. Weights and ids are random: speed does not depend on them.
"""
import json
import os
import resource
import sys
import time

import torch
import transformers

dtype, repeats = sys.argv[1], int(sys.argv[2])
threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
torch.set_num_threads(threads)
torch.manual_seed(0)
shape = transformers.LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                                 num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
                                 tie_word_embeddings=True, num_labels=1, pad_token_id=0)
model = transformers.LlamaForSequenceClassification(shape).to(torch.bfloat16 if dtype == "bf16" else torch.float32)
model.eval()
ids = torch.randint(100, 40000, (12, 170))
seconds = []
with torch.inference_mode():
    for i in range(repeats + 2):
        start = time.perf_counter()
        model(ids, attention_mask=torch.ones_like(ids))
        seconds.append(time.perf_counter() - start)
median = sorted(seconds[2:])[repeats // 2]
print(json.dumps({"tokens_per_second": ids.numel() / median, "seconds": median, "threads": threads,
                  "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                  "transformers": transformers.__version__, "torch": torch.__version__}))
