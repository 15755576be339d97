#!/usr/bin/env python3
"""Pictures and tables of docs/quantizers, made by nibble itself so that they cannot lie.

usage: quantizer_pages.py NIBBLE [--check]

Writes docs/quantizers/NAME.svg for every page below, and the rows between '<!-- table: TEXT | --at ... -->' and
'<!-- end -->' in every page. With --check nothing is written: the exit code says whether all is as it should be.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

PAGES = pathlib.Path(__file__).resolve().parent.parent / "docs" / "quantizers"
# page: quantizer of the picture, lowest and highest x
PICTURES = {
    "bernoulli": ("bernoulli(alpha=1.0)", -2, 2),
    "binary": ("binary(alpha=1.0)", -2, 2),
    "binary_sigmoid": ("binary_sigmoid", -2, 2),
    "binary_tanh": ("binary_tanh", -2, 2),
    "hard_sigmoid": ("hard_sigmoid", -2, 2),
    "hard_tanh": ("hard_tanh", -2, 2),
    "quantized_bits": ("quantized_bits(4,0,1,alpha=1.0)", -1.5, 1.5),
    "quantized_hswish": ("quantized_hswish(6,2)", -5, 5),
    "quantized_linear": ("quantized_linear(4,0,alpha=1.0)", -1.5, 1.5),
    "quantized_po2": ("quantized_po2(4,4)", -5, 5),
    "quantized_relu": ("quantized_relu(4,2)", -1, 5),
    "quantized_relu_po2": ("quantized_relu_po2(4,4)", -1, 5),
    "quantized_sigmoid": ("quantized_sigmoid(4)", -2, 2),
    "quantized_tanh": ("quantized_tanh(4)", -2, 2),
    "quantized_ulaw": ("quantized_ulaw(5)", -1.5, 1.5),
    "smooth_sigmoid": ("smooth_sigmoid", -4, 4),
    "smooth_tanh": ("smooth_tanh", -4, 4),
    "stochastic_binary": ("stochastic_binary(alpha=1.0)", -2, 2),
    "stochastic_ternary": ("stochastic_ternary(alpha=1.0)", -2, 2),
    "ternary": ("ternary(alpha=1.0)", -2, 2),
}
TABLE = re.compile(r"(<!-- table: (.+?) \| (.+?) -->\n).*?(<!-- end -->)", re.S)


def main():
    nibble, check = sys.argv[1], "--check" in sys.argv[2:]
    stale = []

    def settle(path, content):
        if path.exists() and path.read_text() == content:
            return
        stale.append(path.name)
        if not check:
            path.write_text(content)

    def run(*arguments):
        return subprocess.run([nibble, "plot-quantizer", *arguments], check=True, capture_output=True, text=True).stdout

    with tempfile.TemporaryDirectory() as scratch:
        for name, (text, low, high) in PICTURES.items():
            picture = pathlib.Path(scratch) / "picture.svg"
            run(text, "--from", str(low), "--to", str(high), "--output", str(picture))
            settle(PAGES / f"{name}.svg", picture.read_text())
    for page in sorted(PAGES.glob("*.md")):
        content = page.read_text()
        settle(page, TABLE.sub(lambda m: m[1] + "\n" + run(m[2], "--table", *m[3].split()) + "\n" + m[4], content))
    if stale:
        print(("not as nibble makes them: " if check else "written: ") + ", ".join(stale))
    return 1 if stale and check else 0


sys.exit(main())
