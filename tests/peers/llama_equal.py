"""GGUF exports of dial in llama.cpp's own server: it loads the file, reads the text, and its numbers give dial's rewards.

usage: llama_equal.py DIAL LLAMA_SERVER MODEL EXPORTS
EXPORTS is what export_equal.py made: run-FAMILY and FAMILY-x.gguf. MODEL's val.jsonl has the texts.
"""
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import gguf
import numpy as np

dial, server, model_dir, work = sys.argv[1:5]
FAMILIES = ["llama", "llama_rope3", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"]
rows = [json.loads(line) for line in open(f"{model_dir}/val.jsonl")]
texts = [r["prompt"] + r[side] for r in rows for side in ("chosen", "rejected")][:64]


def dial_scores(model):
    with open(f"{work}/texts.jsonl", "w") as f:
        for text in texts:
            f.write(json.dumps({"text": text}) + "\n")
    out = subprocess.run([dial, "score", "--model", model, "--data", f"{work}/texts.jsonl", "--dtype", "f32", "--quiet"],
                         capture_output=True, text=True, check=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    lines = [json.loads(line) for line in out.stdout.splitlines()]
    return np.array([l["score"] for l in lines]), [l["tokens"] for l in lines]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """llama-server with everything in f32: its cache is f16 by default, which costs three digits."""

    def __init__(self, file, *flags):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = open(f"{work}/llama-server.log", "w")
        self.process = subprocess.Popen([server, "-m", file, "--port", self.url.rsplit(":", 1)[1], "-t", "1", "-c", "2048", "-np", "1",
                                         "-ctk", "f32", "-ctv", "f32", "-fa", "off", "--no-warmup", *flags],
                                        stdout=self.log, stderr=self.log)

    def __enter__(self):
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit(f"llama-server: exit {self.process.returncode}, see {work}/llama-server.log")
            try:
                urllib.request.urlopen(f"{self.url}/health")
                return self
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        sys.exit("llama-server: not ready after a minute")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def from_embeddings(file, fields):
    """The last token's vector times the head that the metadata carries."""
    head = np.array(fields["dial.head.weight"], dtype=np.float64)
    shift = float(fields.get("dial.head.shift", 0))
    with Server(file, "--embedding", "--pooling", "last", "--embd-normalize", "-1") as s:
        answers = [s.post("/v1/embeddings", {"input": text, "model": "x"}) for text in texts]
    return (np.array([np.dot(a["data"][0]["embedding"], head) + shift for a in answers]),
            [a["usage"]["prompt_tokens"] for a in answers])


def from_rerank(file):
    """llama.cpp's rank head: the softmax of (reward, 0), so the reward is its logit."""
    with Server(file, "--reranking") as s:
        answers = [s.post("/v1/rerank", {"query": "", "documents": [text], "model": "x"}) for text in texts]
    p = np.array([a["results"][0]["relevance_score"] for a in answers])
    return np.log(p) - np.log1p(-p), [a["usage"]["prompt_tokens"] for a in answers]


def without_window(family, file):
    """Mistral files are `llama` to llama.cpp, which reads no window of them, and dial says so: the whole past is looked at on
    both sides once the key has another name. Dial alone reads the window, so the two files differ there."""
    doc = json.loads(subprocess.run([dial, "export", "--model", f"{work}/run-{family}", "--to", "gguf", "--out", f"{work}/again.gguf",
                                     "--overwrite", "--json"], capture_output=True, text=True, check=True).stdout)
    assert doc["window_ignored"] == json.load(open(f"{work}/{family}/config.json"))["sliding_window"], doc
    data = open(file, "rb").read()
    assert data.count(b"llama.attention.sliding_window") == 1
    plain = f"{work}/{family}-past.gguf"
    with open(plain, "wb") as f:
        f.write(data.replace(b"llama.attention.sliding_window", b"other.attention.sliding_window"))
    assert np.abs(dial_scores(plain)[0] - dial_scores(file)[0]).max() > 1e-2
    return plain


for family in FAMILIES:
    file = f"{work}/{family}-x.gguf"
    ours, tokens = dial_scores(without_window(family, file) if family == "mistral" else f"{work}/run-{family}")
    fields = {k: v.contents() for k, v in gguf.GGUFReader(file).fields.items()}
    rank = fields["general.architecture"] == "qwen3"
    theirs, counted = from_rerank(file) if rank else from_embeddings(file, fields)
    worst = float(np.abs(ours - theirs).max())
    limit = 1e-4
    if rank:  # a probability near 1 has 2^-24 of itself left: its logit loses e^|reward| times that
        limit += np.exp(np.abs(ours)).max() * 2.0 ** -23
    if family.startswith("gemma"):  # llama.cpp's GELU is a table of f16, 2^-11 off each: four times that of the largest reward
        limit += 4 * 2.0 ** -11 * np.abs(ours).max()
    print(f"{family} -> gguf, llama-server {'/v1/rerank' if rank else '/v1/embeddings'}: {len(ours)} texts, "
          f"largest difference {worst:.2e} (limit {limit:.2g}, rewards {ours.min():.2f} to {ours.max():.2f})")
    if counted != tokens:
        sys.exit(f"{family}: llama-server counts other tokens: {counted[:8]}, dial {tokens[:8]}")
    if not worst <= limit or len(ours) < 60:
        sys.exit(f"{family}: differs")
