#!/usr/bin/env python3
"""Training steps of nibble and of PyTorch in turn, one thread, with and without dropout; prints ratios.

The peer is peers/torch_train.py of the material beside the repository (NIBBLE_PEERS names its folder): quantizers
composed of tensor operations, channels last. Processor time is compared, since machines are shared.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = pathlib.Path(os.environ.get("NIBBLE_PEERS", ROOT.parent / "shared" / "peers"))
NIBBLE = ROOT / "build" / "release" / "bench" / "train_step"
ROUNDS = int(os.environ.get("NIBBLE_BENCH_ROUNDS", "3"))
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")


def run(command):
    """The JSON object on the command's last line, and its peak memory in MiB."""
    timed = ["/usr/bin/env", "python3", str(pathlib.Path(__file__).with_name("peak_memory.py")), *command]
    done = subprocess.run(timed, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True)
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-2]), float(lines[-1])


def nibble(workload, dropout, steps):
    result, memory = run([str(NIBBLE), "--workload", workload, "--steps", str(steps)] + ([] if dropout else ["--no-dropout"]))
    return result["results"]["nibble"]["cpu_ms"], memory


def peer(workload, dropout, steps):
    variant = "q_cl" if dropout else "q_cl_nodrop"
    result, memory = run(["/usr/bin/python3", str(PEERS / "torch_train.py"), "--workload", workload, "--threads", "1",
                          "--variants", variant, "--rounds", str(steps), "--warmup", "1"])
    return result["results"][variant]["cpu_ms"], memory


def main():
    if not (PEERS / "torch_train.py").exists():
        sys.exit(f"bench: the peer's program is not in {PEERS}; set NIBBLE_PEERS to its folder.")
    print(f"{'workload':22} {'nibble ms':>10} {'peer ms':>10} {'ratio':>7} {'nibble MiB':>11} {'peer MiB':>9}")
    for workload, steps in (("T1", 8), ("T2", 3)):
        rows = {"dropout": [], "no dropout": [], "peer without dropout": []}
        for _ in range(ROUNDS):  # in turn, so that a slow minute of the machine hits both
            ours, plain = nibble(workload, True, steps), nibble(workload, False, steps)
            theirs, theirs_plain = peer(workload, True, steps), peer(workload, False, steps)
            rows["dropout"].append((ours, theirs))
            rows["no dropout"].append((plain, theirs_plain))
            rows["peer without dropout"].append((ours, theirs_plain))
        for name, pairs in rows.items():
            ours = statistics.median(o[0] for o, _ in pairs)
            theirs = statistics.median(t[0] for _, t in pairs)
            ratio = statistics.median(t[0] / o[0] for o, t in pairs)
            print(f"{workload + ', ' + name:22} {ours:10.1f} {theirs:10.1f} {ratio:7.2f} "
                  f"{max(o[1] for o, _ in pairs):11.0f} {max(t[1] for _, t in pairs):9.0f}", flush=True)


main()
