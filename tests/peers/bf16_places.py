"""What bf16 costs Gemma 3, place by place: cosine of last-token embeddings with the f64 fixture when only the named values
of some layers are rounded to bf16 and all else stays f32.

    python tests/peers/bf16_places.py GEMMA3.gguf [PLACE[,PLACE...][@FIRST-LAST] ...]

GEMMA3: gemma-3-270m, Q4_K_M, whose dequantised weights are the model (tests/fixtures/make_real.py). `all` is what a bf16
block of dial rounds; without @ every layer does. Without places: each of them alone, then all, then all from a layer on. Needs torch, gguf and safetensors. The result stands in docs/pitfalls.md.
"""
import os
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

PLACES = {
    "W": "weights of the linear layers",
    "embed": "embedding table",
    "scale": "square root of the width",
    "norm": "normalised rows, inputs of q, k, v, gate, up",
    "qkv": "outputs of q_proj, k_proj, v_proj",
    "v": "output of v_proj alone",
    "qknorm": "q and k after their norms",
    "rope": "q and k after rotation, as the scores take them",
    "prob": "attention probabilities",
    "o": "output of attention",
    "post": "inputs of the two post norms",
    "gateup": "outputs of gate_proj, up_proj",
    "h": "gelu(gate) * up",
}
ALL = {p for p in PLACES if p not in ("embed", "scale", "v")}


def bf16(x):
    return x.bfloat16().float()


class Model:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        get = lambda key: reader.get_field("gemma3." + key).contents()
        self.layers, self.width = get("block_count"), get("embedding_length")
        self.heads, self.size = get("attention.head_count"), get("attention.key_length")
        self.eps, self.base = get("attention.layer_norm_rms_epsilon"), get("rope.freq_base")
        assert get("attention.head_count_kv") == 1
        self.w = {t.name: torch.from_numpy(np.ascontiguousarray(
            gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32))) for t in reader.tensors}
        self.rounded = {k: bf16(v) for k, v in self.w.items() if v.dim() == 2}

    def norm(self, x, w):
        return x * torch.rsqrt((x.double() ** 2).mean(-1, keepdim=True) + self.eps).float() * w

    def rotate(self, x, base):
        half = self.size // 2
        angle = torch.arange(len(x)).double()[:, None] * base ** (-torch.arange(half).double() / half)
        c, s = angle.cos().float()[:, None], angle.sin().float()[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * c - b * s, b * c + a * s], -1)

    def embed(self, ids, chosen, layers):
        r = lambda place, x: bf16(x) if place in places else x
        n, d = len(ids), self.size
        mask = torch.full((n, n), -torch.inf).triu(1)  # every text is shorter than the window
        places = chosen
        table = self.rounded if "embed" in places else self.w
        x = table["token_embd.weight"][ids] * r("scale", torch.tensor(self.width ** 0.5).float())
        for layer in range(self.layers):
            places = chosen if layer in layers else set()
            scale = lambda name: self.w[f"blk.{layer}.{name}.weight"]
            linear = lambda x, name: x @ (self.rounded if "W" in places else self.w)[f"blk.{layer}.{name}.weight"].T
            base = self.base if (layer + 1) % 6 == 0 else 1e4
            h = r("norm", self.norm(x, scale("attn_norm")))
            q, k, v = (r("qkv", linear(h, "attn_" + c)).view(n, -1, d) for c in "qkv")
            v = r("v", v)
            q = r("rope", self.rotate(r("qknorm", self.norm(q, scale("attn_q_norm"))), base))
            k = r("rope", self.rotate(r("qknorm", self.norm(k, scale("attn_k_norm"))), base))
            s = torch.einsum("qhd,kd->hqk", q, k[:, 0]) * d ** -0.5 + mask
            e = (s - s.amax(-1, keepdim=True)).exp()
            o = torch.einsum("hqk,kd->qhd", r("prob", e), v[:, 0]) / e.sum(-1).T[..., None]
            o = r("post", linear(r("o", o.reshape(n, -1)), "attn_output"))
            x = x + self.norm(o, scale("post_attention_norm"))
            h = r("norm", self.norm(x, scale("ffn_norm")))
            h = torch.nn.functional.gelu(r("gateup", linear(h, "ffn_gate")), approximate="tanh") * \
                r("gateup", linear(h, "ffn_up"))
            x = x + self.norm(r("post", linear(r("h", h), "ffn_down")), scale("post_ffw_norm"))
        return self.norm(x[-1], self.w["output_norm.weight"])


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    fixture = load_file(os.path.join(os.path.dirname(__file__), "../fixtures/real/gemma3.safetensors"))
    ids, at = fixture["ids"].long(), fixture["offsets"].tolist()
    model = Model(sys.argv[1])
    every = range(model.layers)
    cases = [({p}, every) for p in PLACES] + [(ALL, range(k, model.layers)) for k in range(6)]
    if sys.argv[2:]:
        cases = []
    for text in sys.argv[2:]:
        names, _, layers = text.partition("@")
        first, _, last = layers.partition("-")
        cases.append((ALL if names == "all" else set(names.split(",")),
                      range(int(first), int(last or first) + 1) if layers else every))
    for places, layers in cases:
        with torch.no_grad():
            c = torch.stack([torch.cosine_similarity(model.embed(ids[a:b], places, layers).double(), want.double(), dim=0)
                             for a, b, want in zip(at, at[1:], fixture["embeddings"])])
        print(f"least {c.min():.5f} (text {c.argmin()})  mean {c.mean():.5f}  below 0.999: {(c < 0.999).sum():2d}  "
              f"{'all' if places == ALL else ','.join(p for p in PLACES if p in places)}@{layers[0]}-{layers[-1]}", flush=True)


main()
