"""dial serve and clients that others wrote: openai, huggingface_hub, prometheus_client, schemathesis with
docs/openapi.yaml, and the request code of OpenRLHF, verl and LLaMA-Factory by their exact JSON. Every reward
must be that of `dial score`.

usage: serve_clients.py DIAL RUN
"""

import json
import math
import pathlib
import subprocess
import sys

import openai
import requests
from huggingface_hub import InferenceClient
from prometheus_client.parser import text_string_to_metric_families

dial, run = sys.argv[1:]
TEXTS = ["good film", "bad film", "it was a long, long day \N{SNOWMAN}", "a", "the end. " * 20]


def score_offline(texts):
    rows = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    out = subprocess.run([dial, "score", "--model", run, "--data", "-", "--quiet"], input=rows, text=True,
                         capture_output=True, check=True).stdout
    return [json.loads(line)["score"] for line in out.splitlines()]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def equal(name, got, want, tolerance=0.0):
    """tolerance 0: the same number, digit by digit; sigmoids are rounded to float32 (2^-24 of at most 1)."""
    assert len(got) == len(want), f"{name}: {len(got)} values, expected {len(want)}"
    for g, w in zip(got, want):
        assert abs(g - w) <= tolerance, f"{name}: {got}, expected {want}"
    print(f"{name}: {len(got)} values equal")


class Server:
    def __init__(self, *flags):
        self.process = subprocess.Popen([dial, "serve", run, "--port", "0", "--json", *flags],
                                        stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0, "the server did not end in order"

    def post(self, path, body, **kwargs):
        answer = requests.post(self.url + path, json=body, timeout=60, **kwargs)
        answer.raise_for_status()
        return answer.json()


def openrlhf(s, want):
    # openrlhf/utils: one POST a shard, {"query", "prompts", "labels"}; rewards, scores, extra_logs are read
    r = s.post("/get_reward", {"query": TEXTS, "prompts": [t[:2] for t in TEXTS], "labels": [None] * len(TEXTS)})
    equal("OpenRLHF rewards", r["rewards"], want)
    equal("OpenRLHF scores", r["scores"], want)
    assert s.post("/get_reward", {"query": [], "prompts": [], "labels": []})["rewards"] == []


def verl(s, want):
    # vLLM backend: data[-1].probs[-1] of /classify; SGLang backend: data[-1].embedding[-1] of /v1/embeddings
    got = [s.post("/classify", {"model": "m", "input": t, "use_activation": False})["data"][-1]["probs"][-1] for t in TEXTS]
    equal("verl with vLLM", got, want)


def llamafactory(s, want):
    r = s.post("/v1/score/evaluation", {"model": "m", "messages": TEXTS})
    equal("LLaMA-Factory", r["scores"], want)


def openai_client(s):
    client = openai.OpenAI(base_url=s.url + "/v1", api_key="none")
    name = client.models.list().data[0].id
    plain = client.embeddings.create(model=name, input=TEXTS, encoding_format="float")
    packed = client.embeddings.create(model=name, input=TEXTS)  # the client asks for base64 and unpacks it
    assert plain.usage.total_tokens > 0 and plain.model == name
    for a, b in zip(plain.data, packed.data):
        equal("openai embeddings", a.embedding, b.embedding, tolerance=5e-9 * max(map(abs, a.embedding)))  # 9 digits
    try:
        client.embeddings.create(model=name, input=[])
        raise AssertionError("an empty list was taken")
    except openai.UnprocessableEntityError as error:
        assert "empty" in str(error)


def tei_client(s, want):
    # the client posts to the URL as it stands; the root route is that of a TEI server of a classifier
    unit = InferenceClient(model=s.url + "/embed").feature_extraction(TEXTS[0])
    assert abs(float((unit * unit).sum()) - 1) < 1e-5, "embeddings of TEI have unit length"
    # of TEI's [{"score", "label"}] the client takes the first entry for the list of a batch
    got = InferenceClient(model=s.url).text_classification(TEXTS[0])
    assert got["label"] == "LABEL_0"
    equal("huggingface_hub text_classification", [got["score"]], [sigmoid(want[0])], 2**-24)
    r = s.post("/rerank", {"query": "", "texts": TEXTS, "raw_scores": True})
    equal("TEI rerank", [x["score"] for x in r], sorted(want, reverse=True))
    r = s.post("/predict", {"inputs": [[t] for t in TEXTS], "raw_scores": True})
    equal("TEI predict", [x[0]["score"] for x in r], want)


def prometheus(s):
    text = requests.get(s.url + "/metrics", timeout=60).text
    families = {f.name: f for f in text_string_to_metric_families(text)}
    for name in ("dial_build_info", "dial_requests", "dial_request_seconds", "dial_queue_seconds", "dial_batch_texts",
                 "dial_inference_seconds", "dial_texts", "dial_reward", "process_resident_memory_bytes"):
        assert name in families, f"/metrics lacks {name}"
    for f in families.values():
        if f.type == "histogram":  # buckets never fall, and the last one is the count
            buckets, counts = {}, {}
            for x in f.samples:
                key = tuple(sorted((k, v) for k, v in x.labels.items() if k != "le"))
                if x.name.endswith("_bucket"):
                    buckets.setdefault(key, []).append(x.value)
                if x.name.endswith("_count"):
                    counts[key] = x.value
            for key, values in buckets.items():
                assert values == sorted(values) and values[-1] == counts[key], f"{f.name} {key}: {values}"
    print(f"prometheus_client: {len(families)} metrics")


def schemathesis(s):
    """Requests made from the OpenAPI file: no 5xx, and answers of the shapes that it promises."""
    subprocess.run([pathlib.Path(sys.executable).with_name("schemathesis"), "run",
                    pathlib.Path(__file__).parents[2] / "docs/openapi.yaml", "--url", s.url, "--max-examples", "30", "--checks",
                    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"],
                   check=True)


want = score_offline(TEXTS)
with Server() as s:
    openrlhf(s, want)
    verl(s, want)
    llamafactory(s, want)
    openai_client(s)
    tei_client(s, want)
    prometheus(s)
    schemathesis(s)
with Server("--embeddings", "reward") as s:
    got = openai.OpenAI(base_url=s.url + "/v1", api_key="none").embeddings.create(
        model="m", input=TEXTS, encoding_format="float")
    equal("verl with SGLang", [x.embedding[-1] for x in got.data], want)
