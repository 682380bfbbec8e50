"""The Python package as a user installs it: pip install ./python, the script of docs/bindings.md, TRL's GRPOTrainer,
and the OpenRLHF client against `dial serve`.

usage: python_package.py DIAL RUN WORK      run from the root of the sources; RUN is a run on tests/fixtures/toy
"""
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

dial_program, run, work = (os.path.abspath(a) for a in sys.argv[1:4])
root = os.getcwd()
shutil.rmtree(work, ignore_errors=True)
os.makedirs(f"{work}/runs")
subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", f"{work}/site", "./python"], check=True)
shutil.rmtree("python/build", ignore_errors=True)
assert os.path.exists(f"{work}/site/dial/lib/libdial.so")
sys.path.insert(0, f"{work}/site")
import dial  # noqa: E402

assert dial.__file__.startswith(work) and dial.version() == dial.__version__

# The three lines that the page prints, as printed, from a folder in which runs/toy is.
os.symlink(run, f"{work}/runs/toy")
os.symlink(f"{root}/tests", f"{work}/tests")
page = open("docs/bindings.md").read()
script = re.search(r"```python\n(import dial\n.*?)```", page, re.S).group(1)
assert script.count("\n") == 3
env = {**os.environ, "PYTHONPATH": f"{work}/site"}
printed = subprocess.run([sys.executable, "-c", script], cwd=work, env=env, check=True, capture_output=True, text=True).stdout
job_script = re.search(r"```python\n(result = dial.job.*?)```", page, re.S).group(1)
subprocess.run([sys.executable, "-c", "import dial\n" + job_script], cwd=work, env=env, check=True)


def f32(x):
    """Nine printed digits name one float32: this one."""
    return ctypes.c_float(x).value


def program_scores(pairs):
    rows = "".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in pairs)
    out = subprocess.run([dial_program, "score", "--model", run, "--data", "-", "--quiet"], input=rows, check=True,
                         capture_output=True, text=True).stdout
    return [f32(json.loads(line)["score"]) for line in out.splitlines()]


model = dial.RewardModel(run)
pairs = [("2+2=", "4"), ("2+2=", "5"), ("", "no prompt"), ("¿Qué?", "日本 😀")]
want = program_scores(pairs)
assert model.score(pairs) == want and json.loads(printed) == want[:2]
assert [model.score(p, r) for p, r in pairs] == want
assert model.score("2+2=", ["4", "5"]) == want[:2] and model.score([], []) == []
assert model.score([p for p, _ in pairs], [r for _, r in pairs]) == want and model.width == 32
threads = [threading.Thread(target=lambda: results.append(model.score(pairs))) for _ in range(8)]
results = []
for t in threads:
    t.start()
for t in threads:
    t.join()
assert results == [want] * 8
print(f"python: {len(pairs)} scores equal to the program's, bit for bit, alone, together and from 8 threads")

for call, kind in ((lambda: dial.RewardModel("/nonexistent"), dial.DialError), (lambda: model.score("a\0b", "c"), ValueError),
                   (lambda: dial.RewardModel(run, dtpye="f32"), TypeError), (lambda: dial.RewardModel(run, dtype="f31"), dial.DialError),
                   (lambda: dial.job("eval", model=run, data="/nonexistent"), dial.DialError)):
    try:
        call()
    except kind as e:
        assert str(e)
    else:
        sys.exit("an error was expected")
rows, summary = dial.job("score", model=run, data="tests/fixtures/toy/val.jsonl", limit=3)
assert len(rows) == 3 and summary["schema"] == "dial.score/1"
with dial.RewardModel(run) as closed:
    pass
try:
    closed.score("a", "b")
except ValueError:
    pass
else:
    sys.exit("a closed model scored")

# TRL: two steps of GRPO on the tiny model, rewarded by the run.
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from dial.trl import RewardFunction  # noqa: E402

user, assistant = [{"role": "user", "content": "2+2="}], [{"role": "assistant", "content": "4"}]
assert RewardFunction(model)([user], [assistant]) == RewardFunction(model)([user], ["4"]) == model.score([user + assistant])
# a run with a chat template renders dialogues as `dial score` renders rows of messages
chat = f"{work}/chat"
dial.job("train", base="tests/fixtures/toy", source="tests/fixtures/toy/source.jsonl", method="src-pref", template="chatml", steps=4,
         lr=1e-2, lora_r=2, maps=0, select="earliest", threads=1, out=chat)
dialogues = [user + assistant, [{"role": "system", "content": "Be brief."}] + user + assistant + user + [{"role": "assistant", "content": "5"}]]
with open(f"{work}/chat.jsonl", "w") as f:
    f.writelines(json.dumps({"messages": d}) + "\n" for d in dialogues)
rows, _ = dial.job("score", model=chat, data=f"{work}/chat.jsonl")
with dial.RewardModel(chat) as m:
    assert m.score(dialogues) == [f32(r["score"]) for r in rows] and m.score("2+2=", "4") == m.score(dialogues)[0] != m.score(dialogues)[1]
try:
    model.score([user])
except dial.DialError as e:
    assert "no_assistant_turn" in str(e)
else:
    sys.exit("a dialogue without a response was scored")
torch.manual_seed(0)
policy = AutoModelForCausalLM.from_pretrained("tests/fixtures/toy", dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained("tests/fixtures/toy")
tokenizer.pad_token = tokenizer.eos_token
prompts = Dataset.from_list([{"prompt": json.loads(line)["prompt"]} for line in open("tests/fixtures/toy/val.jsonl")][:8])
seen = []


class Recorded(RewardFunction):
    def __call__(self, prompts, completions, **more):
        seen.append((prompts, completions, super().__call__(prompts, completions, **more)))
        return seen[-1][2]


trainer = GRPOTrainer(model=policy, processing_class=tokenizer, reward_funcs=Recorded(model), train_dataset=prompts,
                      args=GRPOConfig(output_dir=f"{work}/grpo", max_steps=2, per_device_train_batch_size=4, num_generations=4,
                                      max_completion_length=8, report_to="none", use_cpu=True, logging_steps=1, save_strategy="no"))
trainer.train()
logged = [h["reward"] for h in trainer.state.log_history if "reward" in h]
assert len(logged) == 2 and len(seen) == 2
for (ps, cs, rewards), mean in zip(seen, logged):
    assert rewards == program_scores(list(zip(ps, cs))), "GRPO's rewards are the program's"
    assert abs(sum(rewards) / len(rewards) - mean) < 1e-5
assert any("rewards/dial_reward/mean" in h for h in trainer.state.log_history)
print(f"trl: 2 steps of GRPO, {sum(len(s[2]) for s in seen)} completions scored as the program scores them")

# OpenRLHF: the client against the server, and against one that is full twice.
from dial.openrlhf import RewardClient, reward_func  # noqa: E402

server = subprocess.Popen([dial_program, "serve", run, "--port", "0", "--json", "--quiet"], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "DIAL_API_KEY": "secret"})
try:
    url = json.loads(server.stdout.readline())["url"]
    client = RewardClient(url, token="secret")
    assert [f32(x) for x in client.score([p + r for p, r in pairs])] == want and client.score([]) == []
    got = reward_func([p + r for p, r in pairs], [p for p, _ in pairs], [None] * 4, url=url, token="secret")
    assert got["rewards"].tolist() == torch.tensor(want).tolist()
    try:
        RewardClient(url, token="wrong").score(["x"])
    except RuntimeError as e:
        assert "401" in str(e)
    else:
        sys.exit("a wrong token was taken")
finally:
    server.terminate()
    assert server.wait(30) == 0
calls = []


class Full(BaseHTTPRequestHandler):
    def do_POST(self):
        calls.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        body = b'{"rewards":[1.5]}' if len(calls) > 2 else b"{}"
        self.send_response(200 if len(calls) > 2 else 429)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


full = HTTPServer(("127.0.0.1", 0), Full)
threading.Thread(target=full.serve_forever, daemon=True).start()
assert RewardClient(f"http://127.0.0.1:{full.server_port}/get_reward").score(["x"], prompts=["x"], labels=["y"]) == [1.5]
assert calls == [{"query": ["x"], "prompts": ["x"], "labels": ["y"]}] * 3
full.shutdown()
print("openrlhf: the client's rewards are the program's; a full server is asked again")
