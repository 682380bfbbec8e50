"""TRL RewardTrainer on a model of SmolLM2's shape: tokens per second of training and peak memory.

usage: trl_reward.py MODEL.gguf bf16|f32 STEPS

The same work as `dial bench --what train`: pairs of 170 tokens (two texts of 85 that share their
first 24), 8 pairs a step, LoRA r 64 on q_proj and v_proj of all layers, AdamW. Tokens are random ids;
TRL computes the shared prompt twice and has no critic, so its work is the smaller part of dial's step
beside the prompt.
"""
import json
import os
import resource
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification, TrainerCallback
from trl import RewardConfig, RewardTrainer

path, dtype, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
warm = 2
threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
torch.set_num_threads(threads)
torch.manual_seed(0)
folder, name = os.path.split(path)
# transformers refuses to train what it read from a GGUF file; speed does not depend on the weights
shape = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                    num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
                    tie_word_embeddings=True, num_labels=1)
model = LlamaForSequenceClassification(shape).to(torch.bfloat16 if dtype == "bf16" else torch.float32)
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model.config.pad_token_id = 0


def text():
    return torch.randint(100, 40000, (61,)).tolist()


rows = []
for _ in range(8 * (steps + warm)):
    prompt = torch.randint(100, 40000, (24,)).tolist()
    rows.append({"chosen_ids": prompt + text(), "rejected_ids": prompt + text()})
rows = [{**r, "chosen_input_ids": r["chosen_ids"], "rejected_input_ids": r["rejected_ids"]} for r in rows]
marks = []


class Clock(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        marks.append(time.perf_counter())


with tempfile.TemporaryDirectory() as out:
    config = RewardConfig(output_dir=out, per_device_train_batch_size=8, max_steps=steps + warm, use_cpu=True,
                          bf16=False, logging_steps=1000, save_strategy="no", report_to=[], max_length=None,
                          gradient_checkpointing=False, learning_rate=5e-5, disable_tqdm=True)
    trainer = RewardTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(rows),
                            peft_config=LoraConfig(task_type="SEQ_CLS", r=64, lora_alpha=64, lora_dropout=0.0,
                                                   target_modules=["q_proj", "v_proj"]), callbacks=[Clock()])
    trainer.train()
seconds = sorted(b - a for a, b in zip(marks[warm - 1:], marks[warm:]))
median = seconds[len(seconds) // 2]
print(json.dumps({"tokens_per_second": 8 * 170 / median, "seconds": median, "threads": threads,
                  "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                  "torch": torch.__version__}))
