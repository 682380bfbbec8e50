"""Scores of dial and of PEFT + transformers on the same adapter; an adapter that PEFT made, in dial.

usage: peft_equal.py MODEL WORK      WORK/run is a run of dial on MODEL
"""
import json
import subprocess
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification
from tokenizers import Tokenizer

model_dir, work = sys.argv[1], sys.argv[2]
rows = [json.loads(line) for line in open(f"{model_dir}/val.jsonl")]
texts = [r["prompt"] + r[side] for r in rows for side in ("chosen", "rejected")]
tokenizer = Tokenizer.from_file(f"{model_dir}/tokenizer.json")
config = json.load(open(f"{model_dir}/config.json"))
eos = config["eos_token_id"] if isinstance(config["eos_token_id"], int) else config["eos_token_id"][0]


def base():
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = 0
    return model.eval()


def scores(model, policy):
    out = []
    with torch.no_grad():
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            if policy["adds_bos"] and (not ids or ids[0] != policy["bos_id"]):
                ids = [policy["bos_id"]] + ids
            if policy["appends_eos"] and ids[-1] != policy["eos_id"]:
                ids = ids + [policy["eos_id"]]
            inner = model.base_model.model if hasattr(model, "base_model") else model
            hidden = inner.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
            out.append(float(inner.score(hidden.unsqueeze(0))[0, 0]))
    return out


def dial_scores(model):
    lines = subprocess.run(["build/dial", "score", "--model", model, "--data", f"{model_dir}/val.jsonl", "--dtype", "f32"],
                           check=True, capture_output=True, text=True).stdout.splitlines()
    return [v for line in map(json.loads, lines) for v in (line["chosen"], line["rejected"])]


def compare(name, ours, theirs):
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    print(f"{name}: {len(ours)} texts, largest difference {worst:.2e} (limit 1e-4)")
    if not worst <= 1e-4:
        sys.exit(f"{name}: dial and PEFT differ")


policy = json.load(open(f"{work}/run/dial.json"))["text"]
trained = PeftModel.from_pretrained(base(), f"{work}/run").eval()
compare("trained by dial", dial_scores(f"{work}/run"), scores(trained, policy))

torch.manual_seed(1)
made = get_peft_model(base(), LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
for name, value in made.named_parameters():
    if "lora_B" in name or "score" in name:
        torch.nn.init.normal_(value, std=0.3)
made.save_pretrained(f"{work}/peft")
made = PeftModel.from_pretrained(base(), f"{work}/peft").eval()
compare("made by PEFT", dial_scores(f"{work}/peft"), scores(made, policy))
