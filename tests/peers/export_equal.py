"""Exports of dial in the programs that they are made for: transformers, PEFT, sentence-transformers, gguf.

usage: export_equal.py DIAL MODEL MODELS WORK
MODEL is a base with a tokenizer, MODELS holds the families' tiny models (tests/fixtures), WORK is scratch.
"""
import json
import os
import shutil
import subprocess
import sys

import gguf
import numpy as np
import torch
from peft import PeftModel
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

dial, model_dir, models_dir, work = sys.argv[1:5]
rows = [json.loads(line) for line in open(f"{model_dir}/val.jsonl")]
texts = [r["prompt"] + r[side] for r in rows for side in ("chosen", "rejected")][:64]
FAMILIES = ["llama", "llama_rope3", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"]


def run(*args):
    out = subprocess.run([dial, *args], capture_output=True, text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    if out.returncode != 0:
        sys.exit(f"dial {' '.join(args)}: exit {out.returncode}\n{out.stderr}")
    return out.stdout


def train(base, out, *flags):
    run("train", "--base", base, "--source", f"{model_dir}/source.jsonl", "--target", f"{model_dir}/target.jsonl",
        "--steps", "20", "--lr", "1e-2", "--lora-alpha", "16", "--dtype", "f32", "--critic-warmup", "2", "--critic-widths", "8",
        "--maps", "0", "--select", "earliest", "--threads", "1", "--quiet", "--json", "--out", out, *flags)


def export(model, to, out, *flags):
    doc = json.loads(run("export", "--model", model, "--to", to, "--out", out, "--json", *flags))
    assert doc["verify"]["ok"], doc
    return doc


def dial_scores(model):
    with open(f"{work}/texts.jsonl", "w") as f:
        for text in texts:
            f.write(json.dumps({"text": text}) + "\n")
    lines = run("score", "--model", model, "--data", f"{work}/texts.jsonl", "--dtype", "f32").splitlines()
    return np.array([json.loads(line)["score"] for line in lines])


def policy_of(model):
    return json.load(open(f"{model}/dial.json"))["text"]


def ids_of(tokenizer, policy, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if policy["adds_bos"] and ids[:1] != [policy["bos_id"]]:
        ids = [policy["bos_id"]] + ids
    if policy["appends_eos"] and ids[-1] != policy["eos_id"]:
        ids = ids + [policy["eos_id"]]
    return ids


def transformers_scores(model, tokenizer, policy):
    """Batches of unequal lengths, padded on the right: the head has to find the last token by itself."""
    out = []
    with torch.no_grad():
        for at in range(0, len(texts), 8):
            batch = tokenizer.pad({"input_ids": [ids_of(tokenizer, policy, t) for t in texts[at:at + 8]]},
                                  padding_side="right", return_tensors="pt")
            out += model(**batch).logits[:, 0].tolist()
    return np.array(out)


def compare(name, ours, theirs, limit=1e-4):
    worst = float(np.abs(ours - theirs).max())
    print(f"{name}: {len(ours)} texts, largest difference {worst:.2e} (limit {limit:g}, rewards {ours.min():.2f} to {ours.max():.2f})")
    if not worst <= limit or len(ours) < 60:
        sys.exit(f"{name}: differs")


def family(name):
    """The family's tiny model with the tokenizer of MODEL: its table has more rows than that needs."""
    out = f"{work}/{name}"
    shutil.copytree(f"{models_dir}/{name}", out, ignore=shutil.ignore_patterns("adapter*", "expected*"))
    config = json.load(open(f"{out}/config.json"))
    torch.manual_seed(7)
    from transformers import AutoConfig, AutoModelForCausalLM
    config.update(vocab_size=330, bos_token_id=0, eos_token_id=1)
    if name == "llama_rope3":  # as Llama 3.1 has them: a GGUF file holds the divisors alone
        config.update(max_position_embeddings=16384)
        config["rope_parameters"].update(factor=8.0, original_max_position_embeddings=8192)
    if "query_pre_attn_scalar" in config:  # GGUF has no key for another
        config["query_pre_attn_scalar"] = config["head_dim"]
    json.dump(config, open(f"{out}/config.json", "w"))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(out), dtype=torch.float32)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.25)
    for f in os.listdir(out):
        if f.startswith("model"):
            os.remove(f"{out}/{f}")
    model.save_pretrained(out)
    for f in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{model_dir}/{f}", out)
    return out


def check_hf(name, trained, out, *flags):
    export(trained, "hf", out, *flags)
    model = AutoModelForSequenceClassification.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert model.config.num_labels == 1 and model.config.problem_type == "regression"
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    ours = dial_scores(trained)
    compare(f"{name} -> hf, transformers", ours, transformers_scores(model, tokenizer, policy_of(trained)))
    compare(f"{name} -> hf, dial", ours, dial_scores(out), 1e-5 * max(1, float(np.abs(ours).max())))


def check_gguf(name, trained, out):
    """dial's scores of the file; every tensor against the HF export, in llama.cpp's conventions."""
    export(trained, "gguf", out)
    ours = dial_scores(trained)
    compare(f"{name} -> gguf, dial", ours, dial_scores(out), 1e-5 * max(1, float(np.abs(ours).max())))
    reader = gguf.GGUFReader(out)
    fields = {k: v.contents() for k, v in reader.fields.items()}
    arch = fields["general.architecture"]
    hf = AutoModelForSequenceClassification.from_pretrained(out[:-5] + "-hf", dtype=torch.float32).state_dict()
    arch_enum = next(a for a, n in gguf.MODEL_ARCH_NAMES.items() if n == arch)
    names = gguf.get_tensor_name_map(arch_enum, fields[f"{arch}.block_count"])
    found = {t.name: np.array(t.data, dtype=np.float32) for t in reader.tensors}
    heads, kv = fields[f"{arch}.attention.head_count"], fields[f"{arch}.attention.head_count_kv"]
    count = 0
    for key, value in hf.items():
        if key == "score.weight":
            continue
        value = value.numpy()
        if arch == "llama" and (".q_proj." in key or ".k_proj." in key):  # as convert_hf_to_gguf permutes
            n = heads if ".q_proj." in key else kv
            value = value.reshape(n, 2, value.shape[0] // n // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
        if arch.startswith("gemma") and key.endswith("norm.weight"):
            value = value + np.float32(1)
        stem, ending = key.rsplit(".", 1)
        got = found.pop(f"{names.get_name(stem)}.{ending}")
        assert got.shape == value.shape and np.abs(got - value).max() <= 1e-6 * max(1, np.abs(value).max()), key
        count += 1
    head = hf["score.weight"].numpy()[0]
    if arch == "qwen3":
        assert fields["qwen3.pooling_type"] == 4 and fields["qwen3.classifier.output_labels"] == ["reward", "zero"]
        assert (found.pop("cls.output.weight") == np.stack([head, 0 * head])).all()
        assert "{query}{document}" in fields["tokenizer.chat_template.rerank"]
    else:
        assert fields[f"{arch}.pooling_type"] == 3 and np.array_equal(np.array(fields["dial.head.weight"], dtype=np.float32), head)
    assert set(found) <= {"rope_freqs.weight"}, found.keys()
    assert len(fields["tokenizer.ggml.tokens"]) == hf["model.embed_tokens.weight"].shape[0]
    print(f"{name} -> gguf, gguf package: {count} tensors equal to those of the hf export")


def check_st(name, trained, out):
    export(trained, "st", out)
    model = SentenceTransformer(out, device="cpu")
    got = model.encode(texts, batch_size=8, convert_to_numpy=True)
    assert got.shape == (len(texts), 1)
    compare(f"{name} -> st, sentence-transformers", dial_scores(trained), got[:, 0])
    compare(f"{name} -> st, dial", dial_scores(trained), dial_scores(out), 1e-4)


def check_peft(name, trained, out, base, layers=None):
    export(trained, "peft", out, "--base-name", base)
    config = {} if layers is None else {"num_hidden_layers": layers}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32, **config)
    model.config.pad_token_id = 0
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    model = PeftModel.from_pretrained(model, out).eval()
    compare(f"{name} -> peft, transformers + PEFT", dial_scores(trained), transformers_scores(model, tokenizer, policy_of(trained)))


shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)
for fam in FAMILIES:
    base = family(fam)
    train(base, f"{work}/run-{fam}", "--lora-targets", "all", "--lora-r", "4")
    check_hf(fam, f"{work}/run-{fam}", f"{work}/{fam}-x-hf", *(["--shard-size", "20K"] if fam == "qwen2" else []))
    check_gguf(fam, f"{work}/run-{fam}", f"{work}/{fam}-x.gguf")
    # and back: a run on a GGUF base, its config and tokenizer made from metadata, in transformers
    if fam == "qwen3":
        continue  # its file holds two rows of a head, which is no base model
    train(base, f"{work}/plain-{fam}", "--method", "base", "--lora-r", "0")
    export(f"{work}/plain-{fam}", "gguf", f"{work}/base-{fam}.gguf")
    data = open(f"{work}/base-{fam}.gguf", "rb").read()
    with open(f"{work}/base-{fam}.gguf", "wb") as f:  # under other names dial's notes say nothing
        f.write(data.replace(b"dial.run", b"note.run").replace(b"dial.text", b"note.text"))
    train(f"{work}/base-{fam}.gguf", f"{work}/again-{fam}", "--lora-targets", "q_proj,v_proj", "--lora-r", "4")
    check_hf(f"{fam} from gguf", f"{work}/again-{fam}", f"{work}/{fam}-again-hf")

toy = model_dir
cases = {"whole": ["--lora-r", "4", "--lora-targets", "all"], "cut": ["--lora-r", "4", "--layer", "1"],
         "head": ["--lora-r", "0"], "adaptor": ["--lora-r", "0", "--adaptor", "4"]}
for name, flags in cases.items():
    train(toy, f"{work}/{name}", *flags)
    check_hf(name, f"{work}/{name}", f"{work}/{name}-hf")
    check_peft(name, f"{work}/{name}", f"{work}/{name}-peft", toy, 1 if name == "cut" else None)
    check_st(name, f"{work}/{name}", f"{work}/{name}-st")
    train(toy, f"{work}/{name}-mean", *flags, "--pooling", "mean")
    check_st(f"{name}, mean", f"{work}/{name}-mean", f"{work}/{name}-mean-st")
    export(f"{work}/{name}", "head", f"{work}/{name}.npy")
    head = AutoModelForSequenceClassification.from_pretrained(f"{work}/{name}-hf", dtype=torch.float32).score.weight
    assert np.array_equal(np.load(f"{work}/{name}.npy"), head.detach().numpy())

# Blocks of 8 bits as the gguf package makes them from the same numbers.
export(f"{work}/whole", "gguf", f"{work}/f32.gguf")
export(f"{work}/whole", "gguf", f"{work}/q8_0.gguf", "--dtype", "q8_0")
exact = {t.name: t for t in gguf.GGUFReader(f"{work}/f32.gguf").tensors}
matrices = 0
for t in gguf.GGUFReader(f"{work}/q8_0.gguf").tensors:
    if t.tensor_type == gguf.GGMLQuantizationType.Q8_0:
        want = gguf.quants.quantize(np.array(exact[t.name].data), gguf.GGMLQuantizationType.Q8_0)
        assert np.array_equal(want.reshape(-1), np.array(t.data).reshape(-1)), t.name
        matrices += 1
assert matrices == 15
print(f"q8_0: {matrices} matrices, bytes equal to those of the gguf package")
for dtype in ("bf16", "f16"):
    export(f"{work}/whole", "hf", f"{work}/whole-{dtype}", "--dtype", dtype)
    model = AutoModelForSequenceClassification.from_pretrained(f"{work}/whole-{dtype}")
    exact_state = AutoModelForSequenceClassification.from_pretrained(f"{work}/whole-hf", dtype=torch.float32).state_dict()
    for key, value in model.state_dict().items():
        assert value.dtype == {"bf16": torch.bfloat16, "f16": torch.float16}[dtype]
        assert torch.equal(value, exact_state[key].to(value.dtype)), key
print("bf16, f16: every tensor rounded as torch rounds it")
