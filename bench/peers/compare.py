"""One line: dial's speed and memory beside a peer's. usage: compare.py WHAT DTYPE DIAL.json PEER PEER.json

PEER.json is what the peer's script prints last, or llama-bench's list of one test.
"""
import json
import sys

what, dtype, ours, peer, theirs = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3])), sys.argv[4], open(sys.argv[5]).read()
case = ours["cases"][0]
if theirs.lstrip().startswith("["):
    speed, more = json.loads(theirs)[0]["avg_ts"], f"build {json.loads(theirs)[0]['build_number']}"
else:
    found = json.loads(theirs.splitlines()[-1])
    speed, more = found["tokens_per_second"], f"{found['peak_memory_bytes'] / 1e6:.0f} MB, torch {found['torch']}"
print(f"  {what} {dtype}: dial {case['tokens_per_second']:.0f} tokens/s ({100 * (case['peak_fraction'] or 0):.0f}% of the limit, "
      f"{case['peak_memory_bytes'] / 1e6:.0f} MB, {ours['device']}), {peer} {speed:.0f} tokens/s ({more}): "
      f"{case['tokens_per_second'] / speed:.2f} times")
