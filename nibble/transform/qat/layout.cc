#include "nibble/transform/qat/layout.h"

#include <algorithm>

namespace nibble::qat {
namespace {

using graph::Layer;
using graph::Model;

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* each) { return name == each; });
}

bool is_convolution(const Layer& layer) {
  return is_one_of(layer.class_name,
                   {"Conv1D", "Conv2D", "DepthwiseConv2D", "QConv2DBatchnorm", "QDepthwiseConv2DBatchnorm"});
}

bool is_dense(const Layer& layer) { return is_one_of(layer.class_name, {"Dense", "QDenseBatchnorm"}); }

// Not Maximum and Minimum: an integer program compares codes, and has those of one grid by their own quantizer.
bool is_merge(const Layer& layer) { return is_one_of(layer.class_name, {"Add", "Subtract", "Multiply", "Average"}); }

bool is_nonnegative(const std::string& function) {
  return is_one_of(function, {"relu", "relu6", "sigmoid", "softmax", "hard_sigmoid", "softplus", "exponential"});
}

bool is_nonnegative_relu(const Layer& layer) {
  return layer.class_name == "ReLU" && layer.get_float("negative_slope") == 0.0 && layer.get_float("threshold") >= 0.0;
}

// Their values are values, or means of values, of their inputs.
bool moves_values(const Layer& layer) {
  return layer.class_name.find("Pooling") != std::string::npos ||
         is_one_of(layer.class_name,
                   {"Flatten", "Reshape", "Permute", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "ZeroPadding1D",
                    "ZeroPadding2D", "Cropping1D", "Cropping2D", "UpSampling2D", "Concatenate", "Add", "Multiply",
                    "Average", "Maximum", "Minimum"});
}

class Layout {
 public:
  Layout(const Model& model, const LayoutFacts& facts, LayoutRules rules)
      : model_(model), facts_(facts), rules_(rules), tfmot_(rules != LayoutRules::kNibble) {}

  std::map<std::string, LayerLayout> run() {
    for (const Layer& layer : model_.layers) {
      if (is_convolution(layer) || (!tfmot_ && is_dense(layer))) match_batch_norm(layer);
    }
    for (const Layer& layer : model_.layers) {
      if (layer.class_name == "Concatenate") match_concatenate(layer);
    }
    for (const Layer& layer : model_.layers) {
      if (tfmot_ && is_dense(layer)) match_batch_norm(layer);  // transforms 15 to 17, behind 10 to 14
    }
    for (const Layer& layer : model_.layers) {
      if (is_rectifier(layer)) match_rectifier(layer);
    }
    return std::move(layouts_);
  }

 private:
  bool is_annotated(const Layer& layer) const { return facts_.annotated.contains(layer.name); }
  bool is_configured(const Layer& layer) const { return facts_.configured.contains(layer.name); }
  bool is_free(const Layer& layer) const { return is_annotated(layer) && !is_configured(layer); }

  // The one layer that reads this one's output, or null.
  const Layer* only_reader(const Layer& layer) const {
    if (std::find(model_.outputs.begin(), model_.outputs.end(), layer.name) != model_.outputs.end()) return nullptr;
    const Layer* reader = nullptr;
    for (const Layer& each : model_.layers) {
      const auto reads = std::count(each.inputs.begin(), each.inputs.end(), layer.name);
      if (reads > 1 || (reads == 1 && reader != nullptr)) return nullptr;
      if (reads == 1) reader = &each;
    }
    return reader;
  }

  bool is_rectifier(const Layer& layer) const {
    if (layer.class_name == "ReLU") return true;
    if (layer.class_name == "Activation") {
      const std::string function = layer.activation_function();
      if (function == "relu") return true;
      return !tfmot_ && !is_one_of(function, {"", "linear", "softmax", "sigmoid", "tanh"});
    }
    return !tfmot_ && is_one_of(layer.class_name, {"LeakyReLU", "ELU", "PReLU"});
  }

  void match_batch_norm(const Layer& layer) {
    if (!is_free(layer) || layer.activation_function() != "linear") return;
    const Layer* norm = only_reader(layer);
    if (norm != nullptr && facts_.squeezes.contains(norm->name)) norm = only_reader(*norm);
    if (norm == nullptr || norm->class_name != "BatchNormalization" || !is_free(*norm)) return;
    layouts_[layer.name].drops_activation = true;
    const Layer* next = only_reader(*norm);
    const bool ends_in_rectifier = next != nullptr && is_rectifier(*next) && is_free(*next);
    if (ends_in_rectifier && !(tfmot_ && is_dense(layer))) {
      layouts_[norm->name].quantizes_nothing = true;
    } else {
      layouts_[norm->name].quantizes_output = true;
    }
  }

  // One whose output's quantization can be left to the Concatenate.
  bool can_pass_through(const Layer& feed) const {
    if (is_configured(feed)) return false;
    if (feed.class_name == "InputLayer") return rules_ != LayoutRules::kTfmotBits;
    if (!is_annotated(feed)) return false;
    // TFMOT's transform gives up where it does not know a class, such as a batch norm that no transform has seen yet.
    return !tfmot_ || feed.class_name != "BatchNormalization" || layouts_.contains(feed.name);
  }

  void match_concatenate(const Layer& concatenate) {
    if (!is_free(concatenate)) return;
    if (tfmot_ && concatenate.inputs.size() > 6) return;
    std::vector<const Layer*> feeds;
    for (const std::string& name : concatenate.inputs) {
      const Layer& feed = model_.layer(name);
      if (only_reader(feed) != &concatenate || !can_pass_through(feed)) return;
      feeds.push_back(&feed);
    }
    for (const Layer* feed : feeds) layouts_[feed->name].drops_output = true;
  }

  void match_rectifier(const Layer& rectifier) {
    if (!is_annotated(rectifier) || rectifier.inputs.size() != 1) return;
    const Layer& before = model_.layer(rectifier.inputs[0]);
    if (only_reader(before) != &rectifier || !is_annotated(before)) return;
    const bool computes = is_convolution(before) || is_dense(before);
    if (tfmot_) {  // even one with a configuration of the user's
      if (is_one_of(before.class_name, {"Add", "Conv2D", "DepthwiseConv2D", "Dense"})) {
        layouts_[before.name].quantizes_nothing = true;
      }
      return;
    }
    if (is_configured(before) || is_configured(rectifier)) return;
    if (is_merge(before)) layouts_[before.name].quantizes_nothing = true;
    const std::string function = before.activation_function();
    if (computes && (function == "linear" || function == "relu")) layouts_[before.name].drops_activation = true;
  }

  const Model& model_;
  const LayoutFacts& facts_;
  LayoutRules rules_;
  bool tfmot_;
  std::map<std::string, LayerLayout> layouts_;
};

}  // namespace

std::map<std::string, LayerLayout> layout(const Model& model, const LayoutFacts& facts, LayoutRules rules) {
  return Layout(model, facts, rules).run();
}

std::map<std::string, bool> rectified_outputs(const Model& model) {
  std::map<std::string, bool> result;
  for (const Layer& layer : model.layers) {
    bool is_rectified = is_nonnegative_relu(layer) || is_nonnegative(layer.activation_function());
    if (moves_values(layer) && !layer.inputs.empty()) {
      is_rectified = std::all_of(layer.inputs.begin(), layer.inputs.end(),
                                 [&](const std::string& input) { return result.at(input); });
    }
    result[layer.name] = is_rectified;
  }
  return result;
}

}  // namespace nibble::qat
