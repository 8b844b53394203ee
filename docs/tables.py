"""Writes the demo's tables into README.md and docs/benchmarks.md, from the files of its runs.

    for seed in 0 1 2; do
        retort demo --seed $seed --device cpu --out runs/tables/glyphs-$seed
        retort demo --seed $seed --device cpu --out runs/tables/omniglot-$seed \
            --dataset omniglot --data-root ../shared/data/omniglot
    done
    python docs/tables.py runs/tables
"""

import json
import re
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
# The demo's data sets, as people call them.
DATA = {"glyphs": "glyphs", "omniglot": "Omniglot"}
# A run's folder in the demo's, as the demo trains them.
NETWORKS = ["source", "target", "target-relaxed_contrastive", "target-rkd"]
KS = ["1", "2", "4", "8"]
BEGIN, END = "<!-- docs/tables.py: begin {} -->", "<!-- docs/tables.py: end -->"


def read(run):
    info, summary = (json.loads((run / f"{f}.json").read_text()) for f in ["run", "summary"])
    plugin = info["plugins"][0]
    network = info["config"]["network"]
    return {
        "role": info["role"],
        "loss": plugin["loss"].split("#")[-1],
        "plugin": plugin["origin"],
        "recall": [100 * summary["recall"][k] for k in KS],
        "parameters": summary["parameters"],
        "bytes": 4 * network["embedding"],
        "seconds": summary["seconds"],
        "processor": info["hardware"]["cpu"],
    }


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [" " + "  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]


def of_readme(demo):
    head = ["NETWORK", "LOSS", "PLUGIN", "R@1", "R@2", "R@4", "R@8", "PARAMETERS", "BYTES", "TIME"]
    rows = [
        [r["role"], r["loss"], r["plugin"]]
        + [f"{x:.1f}" for x in r["recall"]]
        + [str(r["parameters"]), str(r["bytes"]), f"{r['seconds']:.0f} s"]
        for r in demo
    ]
    first = "Recall@K in % on the unseen classes of glyphs; BYTES is one embedding's size."
    return "\n".join(["```text", first, "", *aligned([head, *rows]), "```"])


def of_benchmarks(demos, made):
    out = ["| data | network | loss | R@1 by seed | R@1 | R@2 | R@4 | R@8 |", "|---" * 8 + "|"]
    gains = []
    for data, seeds in demos.items():
        for at in range(len(NETWORKS)):
            runs = [demo[at] for demo in seeds]
            by_seed = ", ".join(f"{r['recall'][0]:.1f}" for r in runs)
            means = [f"{statistics.mean(r['recall'][k] for r in runs):.1f}" for k in range(len(KS))]
            first = runs[0]
            cells = [DATA[data], first["role"], f"`{first['loss']}`", by_seed, *means]
            out.append("| " + " | ".join(cells) + " |")
        gain = [d[2]["recall"][0] - d[1]["recall"][0] for d in seeds]
        gains.append(f"{min(gain):.1f} to {max(gain):.1f} on {DATA[data]}")
    said = (
        "Points of Recall@1 that `relaxed_contrastive` (as a WASM component) is above the same target without "
        f"transfer, over the seeds: {'; '.join(gains)}. {made}"
    )
    return "\n".join([*out, "", *textwrap.wrap(said, 118, break_on_hyphens=False)])


def put(path, name, text):
    page = path.read_text()
    begin = BEGIN.format(name)
    pattern = re.escape(begin) + r"\n.*?" + re.escape(END)
    page, found = re.subn(pattern, lambda _: f"{begin}\n{text}\n{END}", page, flags=re.S)
    if found != 1:
        sys.exit(f"{path} has no place for the table {name}: {begin} … {END}")
    path.write_text(page)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    demos = {}
    for data in DATA:
        seeds = sorted(folder.glob(f"{data}-*"))
        demos[data] = [[read(seed / network) for network in NETWORKS] for seed in seeds]
    (processor,) = {run["processor"] for seeds in demos.values() for demo in seeds for run in demo}
    commit = subprocess.check_output(["git", "describe", "--always"], cwd=ROOT, text=True).strip()
    made = f"Trained by commit {commit} on one processor ({processor}, AVX-512)." if (
        "avx512f" in Path("/proc/cpuinfo").read_text()
    ) else f"Trained by commit {commit} on one processor ({processor})."
    put(ROOT / "README.md", "demo", of_readme(demos["glyphs"][0]))
    put(ROOT / "docs/benchmarks.md", "demo", of_benchmarks(demos, made))


main()
