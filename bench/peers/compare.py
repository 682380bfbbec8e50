"""One line: dial's training speed and memory beside TRL's. usage: compare.py DTYPE DIAL.json TRL.json"""
import json
import sys

dtype, ours, theirs = sys.argv[1], json.load(open(sys.argv[2])), json.loads(open(sys.argv[3]).read().splitlines()[-1])
case = ours["cases"][0]
print(f"{dtype}: dial {case['tokens_per_second']:.0f} tokens/s ({100 * (case['peak_fraction'] or 0):.0f}% of the limit, "
      f"{case['peak_memory_bytes'] / 1e6:.0f} MB, {ours['device']}), TRL {theirs['tokens_per_second']:.0f} tokens/s "
      f"({theirs['peak_memory_bytes'] / 1e6:.0f} MB, torch {theirs['torch']}): "
      f"{case['tokens_per_second'] / theirs['tokens_per_second']:.1f} times")
