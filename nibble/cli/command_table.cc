// The table of commands. A command is a row here and a file of its name.
#include <array>

#include "nibble/cli/command.h"

namespace nibble::cli {
namespace {

constexpr std::array kCommands = {
    Command{"train", "Train a model, in float or with the quantizers it has.",
            "  nibble train mnist --data mnist --epochs 10 --batch-size 2048 --lr 0.02 --output run1\n"
            "  nibble train mnist --data mnist --quantize four_bits.json --weights run1/model.keras --output run2\n"
            "  nibble train cifar10 --data cifar10 --holdout batch5 --epochs 60 --schedule cosine --output run3\n",
            declare_train, /*computes=*/true},
    Command{"evaluate", "Loss and accuracy of a model on the test part of a data set.",
            "  nibble evaluate run1 --data mnist\n"
            "  nibble evaluate mnist --weights weights.h5 --data mnist --json\n",
            declare_evaluate, /*computes=*/true},
    Command{"predict", "A model's outputs for the inputs in a .npy file.",
            "  nibble predict run1/model.keras --input x.npy --output y.npy\n"
            "  nibble predict mnist --weights weights.h5 --input x.npy --output y.npy\n",
            declare_predict, /*computes=*/true},
    Command{"energy", "Energy of one inference, layer by layer.",
            "  nibble energy mnist --reference fp32\n"
            "  nibble energy run2/model.keras\n"
            "  nibble energy mnist --reference int8 --compat qkeras-2020 --json\n"
            "  nibble energy run2/model.keras --process my_chip.json --types --summary\n"
            "  nibble energy run2/model.keras --roofline --peak-ops 1e9 --bandwidth 1e8\n",
            declare_energy},
    Command{"quantize", "Give layers quantizers, by their names or classes (QKeras' model_quantize).",
            "  nibble quantize run1 four_bits.json --output four_bits.keras\n"
            "  nibble quantize run1 four_bits.json --enable-bn-folding --output folded.keras\n\n"
            "  four_bits.json:\n"
            "    {\"QConv2D\": {\"kernel_quantizer\": \"quantized_bits(4,0,1,alpha='auto_po2')\",\n"
            "                 \"bias_quantizer\": \"quantized_bits(4,0,1)\"},\n"
            "     \"dense\": {\"kernel_quantizer\": \"ternary(alpha='auto')\"},\n"
            "     \"QActivation\": {\"relu\": \"quantized_relu(4)\"}}\n",
            declare_quantize},
    Command{"ptq", "Quantize a trained float model without training it: ranges from data, affine codes.",
            "  nibble ptq run1 --data fashion_mnist --bits 8 --calibration mse --per-channel --output int8.keras\n"
            "  nibble ptq run1 --data fashion_mnist --bits 4 --per-channel --equalize --bias-correction --adaround\n",
            declare_ptq, /*computes=*/true},
    Command{
        "qat", "Train a model with affine fake quantization (the TFMOT way), or with learned steps (LSQ, PACT, ...).",
        "  nibble qat run1 --data fashion_mnist --scheme int8 --output int8\n"
        "  nibble qat run1 --data fashion_mnist --scheme int4 --quantizer lsq --epochs 3 --output lsq4\n"
        "  nibble qat fashion_mnist_cnn --data fashion_mnist --scheme int8 --begin 2 --epochs 10 --output scratch\n"
        "  nibble qat run1 --data fashion_mnist --scheme mixed.json --output mixed\n\n"
        "  mixed.json:\n"
        "    {\"scheme\": {\"base\": \"int4\", \"quantizer\": \"lsq\", \"edge_weight_bits\": 8},\n"
        "     \"layers\": {\"conv2d_1\": {\"weights\": [{\"weight\": \"kernel\", \"quantizer\":\n"
        "         {\"class_name\": \"AllValuesQuantizer\", \"config\": {\"num_bits\": 3, \"per_axis\": true}}}]}}}\n",
        declare_qat, /*computes=*/true},
    Command{"finalize",
            "Write the quantized weights and tell their integer codes (QKeras' model_save_quantized_weights).",
            "  nibble finalize run2/model.keras --output final.keras\n"
            "  nibble finalize run2 --output final.keras --codes codes.json\n",
            declare_finalize},
    Command{"inspect", "Are the weights quantized? Their codes, scales and what to know about them.",
            "  nibble inspect final.keras\n"
            "  nibble inspect final.keras --histogram\n",
            declare_inspect},
    Command{"qstats", "Operations, weight bits and zeros of every quantized layer (QKeras' print_qstats).",
            "  nibble qstats run2\n"
            "  nibble qstats final.keras --json\n",
            declare_qstats},
    Command{"debug",
            "Smallest and largest outputs and weights of every quantized layer (QKeras' quantized_model_debug).",
            "  nibble debug run2 --input x.npy\n"
            "  nibble debug run2 --input x.npy --dump outputs\n",
            declare_debug, /*computes=*/true},
    Command{"convert", "A model from one of Keras' files into another: .keras, .h5, .json with weights beside it.",
            "  nibble convert model.h5 model.keras\n"
            "  nibble convert model.json model.keras --weights model_weights.h5\n"
            "  nibble convert run2 model.h5\n"
            "  nibble convert qkeras_v3.keras qkeras.json --keras 2\n",
            declare_convert},
    Command{"compile", "A quantized model as a program of integers, accumulator widths proven.",
            "  nibble compile run2 --output run2.nbl\n"
            "  nibble compile final.keras --input-quantizer \"quantized_bits(6,0,1,alpha=1.0)\" --output final.nbl\n",
            declare_compile},
    Command{"run", "Run an integer program on a data set or a .npy file.",
            "  nibble run run2.nbl --data mnist\n"
            "  nibble run run2.nbl --input x.npy --output y.npy\n",
            declare_run},
    Command{"verify", "Compare the integers of a model's program with its float network, layer by layer.",
            "  nibble verify run2 --data mnist\n"
            "  nibble verify run2 --data mnist --samples 500 --json\n",
            declare_verify, /*computes=*/true},
    Command{"bench", "Time and memory of an integer program, its results checked first.",
            "  nibble bench run2.nbl\n"
            "  nibble bench run2.nbl --batches 1,16 --executor reference --json\n",
            declare_bench},
    Command{"autoq", "Search quantizers and widths of every layer under a goal (AutoQKeras).",
            "  nibble autoq examples/autoqkeras_mnist.json --output search1\n"
            "  nibble autoq examples/autoqkeras_mnist.json --output search1 --workers 4 --max-trials 50 --resume\n",
            declare_autoq, /*computes=*/true},
    Command{"worker", "Work on the trials of a study; any number may run.",
            "  nibble worker --study search1/study.db\n", declare_worker, /*computes=*/true, /*is_listed=*/false},
    Command{"study", "What a search has found: list, show, best, trials, pareto, export, delete.",
            "  nibble study trials search1 --sort score\n"
            "  nibble study best search1 --json\n",
            declare_study},
    Command{"dashboard", "Show a search in a browser while it runs.",
            "  nibble dashboard search1\n"
            "  nibble dashboard \"postgresql://ann@db.example/nets?study=mnist_11nj\" --port 0\n",
            declare_dashboard},
    Command{"report", "Write the HTML report of a search or a training.",
            "  nibble report search1\n"
            "  nibble report run1\n"
            "  nibble report search1/study.db --output /tmp/report.html\n",
            declare_report},
    Command{"experiment", "Compute a published table of quantized networks again, beside the published figures.",
            "  nibble experiment ptq-qat --out table1 --datasets fashion_mnist --networks cnn --seeds 1\n"
            "  nibble experiment ptq-qat --out table1 --studies ablation,bias-width\n"
            "  nibble experiment ptq-qat --out table1 --workers 4 --studies all\n",
            declare_experiment, /*computes=*/true},
    Command{"plot-quantizer", "Value and gradient of a quantizer, as a picture or a table.",
            "  nibble plot-quantizer \"quantized_relu(4,2)\" --from -1 --to 5 --output relu.svg\n"
            "  nibble plot-quantizer \"quantized_bits(4,0,1,alpha=1)\" --table --at -1,-0.3,0,0.1,0.9\n",
            declare_plot_quantizer},
    Command{"data", "The data sets: list, fetch, show.",
            "  nibble data list\n"
            "  nibble data fetch mnist\n"
            "  nibble data show digits --sample 3\n",
            declare_data},
    Command{"models", "The built-in models, or one model's layers.",
            "  nibble models\n"
            "  nibble models mnist\n",
            declare_models},
    Command{"version", "The version of this program.", "", declare_version},
    Command{"help", "Explain a command.", "  nibble help train\n", declare_help},
};

}  // namespace

std::span<const Command> command_table() { return kCommands; }

}  // namespace nibble::cli
