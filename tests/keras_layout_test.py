"""Reads what nibble wrote with other programs' readers: h5py, zipfile, json. Exit code 77: h5py is not here.

usage: keras_layout_test.py NIBBLE SCRATCH
"""
import json
import pathlib
import subprocess
import sys
import zipfile

try:
    import h5py
except ImportError:
    print("h5py is not here")
    sys.exit(77)

nibble, scratch = sys.argv[1], pathlib.Path(sys.argv[2])
scratch.mkdir(parents=True, exist_ok=True)
config = scratch / "four_bits.json"
config.write_text(json.dumps({"QConv2D": {"kernel_quantizer": "quantized_bits(4,0,1,alpha=1.0)"},
                              "QDense": {"kernel_quantizer": "ternary"}}))


def run(*arguments):
    subprocess.run([nibble, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def text(value):
    return value.decode() if isinstance(value, bytes) else value


archive, h5, document = scratch / "m.keras", scratch / "m.h5", scratch / "m.json"
run("quantize", "mnist", config, "--output", archive)
run("convert", archive, h5)
run("convert", archive, document)

# .keras: a zip of three files.
with zipfile.ZipFile(archive) as zipped:
    assert sorted(zipped.namelist()) == ["config.json", "metadata.json", "model.weights.h5"], zipped.namelist()
    model = json.loads(zipped.read("config.json"))
    zipped.extract("model.weights.h5", scratch)
layers = [layer["name"] for layer in model["config"]["layers"]]
assert model["class_name"] == "Functional" and "keras_version" in json.loads(zipfile.ZipFile(archive).read("metadata.json"))
convolution = next(layer for layer in model["config"]["layers"] if layer["class_name"] == "QConv2D")
assert convolution["config"]["kernel_quantizer"]["class_name"] == "quantized_bits", convolution["config"]

values = {}
with h5py.File(scratch / "model.weights.h5") as file:
    kernel = file["layers/q_conv2d/vars/0"]
    assert kernel.dtype == "<f4" and kernel.shape == (3, 3, 1, 16), kernel
    values["archive"] = kernel[...]

# .h5: configuration as an attribute, groups by layer_names and weight_names.
for name, root, path in [("h5", "model_weights", h5), ("json", "/", scratch / "m_weights.h5")]:
    with h5py.File(path) as file:
        group = file[root]
        assert [text(layer) for layer in group.attrs["layer_names"]] == layers
        assert text(group.attrs["backend"]) == "tensorflow" and "keras_version" in group.attrs
        if name == "h5":
            assert json.loads(text(file.attrs["model_config"])) == model
        layer = group[convolution["name"]]
        weights = [text(weight) for weight in layer.attrs["weight_names"]]
        assert weights == [convolution["name"] + "/kernel:0"], weights
        values[name] = layer[weights[0]][...]
        relu = next(layer["name"] for layer in model["config"]["layers"] if not layer["class_name"].startswith("Q"))
        assert len(group[relu].attrs["weight_names"]) == 0
assert json.loads(document.read_text()) == model

# For Keras 2: its own document, the same weights.
two = scratch / "two.h5"
run("convert", archive, two, "--keras", "2")
with h5py.File(two) as file:
    old = json.loads(text(file.attrs["model_config"]))
    assert text(file.attrs["keras_version"]) == old["keras_version"] == "2.4.0"
    assert "registered_name" not in json.dumps(old) and "batch_input_shape" in old["config"]["layers"][0]["config"]
    second = old["config"]["layers"][1]
    assert second["inbound_nodes"] == [[[layers[0], 0, 0, {}]]], second["inbound_nodes"]
    values["two"] = file["model_weights"][convolution["name"]][convolution["name"] + "/kernel:0"][...]

assert (values["archive"] == values["two"]).all()
assert (values["archive"] == values["h5"]).all() and (values["archive"] == values["json"]).all()
print("the layout is Keras'")
