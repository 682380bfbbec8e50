"""TensorBoard's own reader on the event file of a run, whole and gone on with: every scalar is that of metrics.jsonl.

usage: events_equal.py DIAL TOY WORK
"""
import json
import os
import shutil
import struct
import subprocess
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

dial, toy, work = sys.argv[1:4]
shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)


def train(steps, *more):
    subprocess.run([dial, "train", "--base", toy, "--source", f"{toy}/source.jsonl", "--target", f"{toy}/target.jsonl",
                    "--eval", f"val={toy}/val.jsonl", "--eval-every", "5", "--lora-r", "2", "--maps", "0", "--critic-warmup", "2",
                    "--select", "last", "--steps", str(steps), "--out", f"{work}/run", "--quiet", "--json", *more],
                   check=True, stdout=subprocess.DEVNULL)


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def check():
    expected = {}
    for line in open(f"{work}/run/metrics.jsonl"):
        o = json.loads(line)
        if o["event"] == "step":
            for k, v in o.items():
                if k != "step" and isinstance(v, (int, float)):
                    expected.setdefault(f"train/{k}", []).append((o["step"], f32(v)))
        if o["event"] == "eval":
            expected.setdefault(f"eval/{o['name']}/accuracy", []).append((o["step"], f32(o["result"]["accuracy"])))
    seen = EventAccumulator(f"{work}/run", size_guidance={"scalars": 0})
    seen.Reload()
    assert sorted(seen.Tags()["scalars"]) == sorted(expected), (seen.Tags()["scalars"], sorted(expected))
    n = 0
    for tag, rows in expected.items():
        found = [(e.step, e.value) for e in seen.Scalars(tag)]
        if tag.startswith("eval/"):  # what followed the last step of the first part is no line any more
            assert set(rows) <= set(found), tag
        else:
            assert found == rows, tag
        n += len(rows)
    return n


train(12)
first = check()
train(20, "--resume")
print(f"events_equal: {first} scalars of 12 steps, {check()} of 20 after --resume")
