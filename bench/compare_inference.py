#!/usr/bin/env python3
"""Integer programs against oneDNN int8 and, where it is installed, ONNX Runtime int8: one thread, in turn; prints ratios.

The peers' programs are onednn_infer.cpp, make_models.py and ort_infer.js of the material beside the repository
(NIBBLE_PEERS names its folder). ONNX Runtime and its models are fetched and made once, in build/peers; what cannot be had
is left out, and said so.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = pathlib.Path(os.environ.get("NIBBLE_PEERS", ROOT.parent / "shared" / "peers"))
BENCH = ROOT / "build" / "release" / "bench"
ROUNDS = int(os.environ.get("NIBBLE_BENCH_ROUNDS", "5"))
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
NETWORKS = ["resnet8", "mobilenet", "t1"]
ONNX_RUNTIME = "1.30.0"  # the version that figures in docs/performance.md are of


def results(command):
    """{"resnet8_int8@1": {...}} of the JSON object on the command's last line; its talk is dropped."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])["results"]


def onednn():
    source, binary = PEERS / "onednn_infer.cpp", BENCH / "onednn_infer"
    if not source.exists():
        return None, f"oneDNN: {source} is not there; set NIBBLE_PEERS to the folder of the peers' programs."
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["g++", "-O2", "-std=c++17", str(source), "-ldnnl", "-o", str(binary)], check=True)
    return [str(binary), "1"], None


def onnx_runtime():
    script, maker, folder = PEERS / "ort_infer.js", PEERS / "make_models.py", ROOT / "build" / "peers"
    if not script.exists() or not shutil.which("npm"):
        return None, "ONNX Runtime: npm or the peer's program is not there."
    package = folder / "node_modules" / "onnxruntime-node"
    if not package.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"fetching onnxruntime-node {ONNX_RUNTIME} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
        install = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund",
                   f"onnxruntime-node@{ONNX_RUNTIME}"]
        if subprocess.run(install, stdout=subprocess.DEVNULL).returncode != 0:
            return None, "ONNX Runtime: npm could not fetch onnxruntime-node."
    models = folder / "models"
    if not all((models / f"{n}_int8.onnx").exists() for n in NETWORKS):
        models.mkdir(exist_ok=True)
        # Debian's Python, which python3-onnx belongs to.
        if subprocess.run(["/usr/bin/python3", str(maker), str(models)], stdout=subprocess.DEVNULL).returncode != 0:
            return None, "ONNX Runtime: its models could not be made; is python3-onnx installed?"
    ENVIRONMENT["NODE_PATH"] = str(folder / "node_modules")
    names = ",".join(f"{n}_int8" for n in NETWORKS)
    return ["node", str(script), str(models), "--models", names, "--rounds", "1", "--threads", "1"], None


def main():
    commands = {"nibble": [str(BENCH / "infer"), "--rounds", "1"]}
    for name, (command, why_not) in {"oneDNN": onednn(), "ONNX Runtime": onnx_runtime()}.items():
        if command:
            commands[name] = command
        else:
            print(f"left out: {why_not}")
    times, facts = {}, {}
    for _ in range(ROUNDS):  # in turn, so that a slow minute of the machine hits all
        for name, command in commands.items():
            for key, row in results(command).items():
                times.setdefault((name, key), []).append(row["min_us"])
                facts.setdefault(key, {}).update(row if name == "nibble" else {})
    peers = [name for name in commands if name != "nibble"]
    print(f"{'network@batch':22} {'nibble us':>10} " + " ".join(f"{p + ' us':>15} {'ratio':>6}" for p in peers)
          + f" {'file':>9} {'RAM':>9}")
    for (name, key), ours in times.items():
        if name != "nibble":
            continue
        row = f"{key:22} {min(ours):10.1f} "
        for peer in peers:
            theirs = times.get((peer, key.replace("int4", "int8").replace("binary", "int8")))
            row += f"{min(theirs):15.1f} {min(theirs) / min(ours):6.2f} " if theirs else f"{'-':>15} {'-':>6} "
        print(row + f"{facts[key]['file_bytes']:9} {facts[key]['peak_activation_bytes']:9}", flush=True)
    print("A ratio above 1: nibble is faster. int4 and binary rows stand against the peer's int8.")
    print("Times are of the best call of all rounds, since machines are shared.")
    print("file: the .nbl, bytes; RAM: activations of one sample that are needed at one time, bytes.")


if not (BENCH / "infer").exists():
    sys.exit("bench: build/release/bench/infer is not built; './dev bench infer' builds it.")
main()
