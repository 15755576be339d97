// nibble/formats/keras/weight_layout.h
// Where Keras keeps the weights inside an HDF5 file: two layouts.
//   legacy   /model_weights/<layer>/<weight name>, listed by attributes; spec/interop.md section 3
//   archive  /layers/<snake_case class>[_n]/vars/k; spec/interop.md section 4
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "nibble/formats/keras/hdf5_file.h"
#include "nibble/graph/model.h"

namespace nibble::formats::keras {

// Names and shapes of a layer's weights in Keras' order, the variables of its quantization after its own.
using Expected = std::vector<std::pair<std::string, Shape>>;
std::map<std::string, Expected> expected_weights(const graph::Model& model);

// Parts of the two readers, of one layer each; `group` is the layer's own.
//   throws  CorruptFile; InvalidArgument if names or shapes do not match
void read_legacy_layer(graph::Layer& layer, const Expected& expected, const Hdf5Reader& file, const std::string& group);
void read_archive_layer(graph::Layer& layer, const Expected& expected, const Hdf5Reader& file,
                        const std::string& group);

// "/" and "conv2d" -> "/conv2d"
std::string child_group(const std::string& root, const std::string& name);
// "conv2d/kernel:0" -> "kernel"
std::string last_part(const std::string& path);
// "/layers", or what old writers have instead.
std::string archive_container(const Hdf5Reader& file);

// True if the file names its layers as the legacy layout does, under `root` ("/" or "/model_weights").
bool is_legacy(const Hdf5Reader& file, const std::string& root);

// Both replace the weights of all layers.
//   throws  CorruptFile; InvalidArgument if layers or shapes do not match
void read_legacy(graph::Model& model, const Hdf5Reader& file, const std::string& root);
//   paths   archive_paths() of the model as its file orders it
void read_archive(graph::Model& model, const Hdf5Reader& file, const std::map<std::string, std::string>& paths);

// All need a model with weights. With a `config` the file is a whole model: its JSON is kept as an attribute, and the
// layers' groups lie under /model_weights. `keras_version` is what the file says of its writer.
std::string write_legacy(const graph::Model& model, const std::string& config = "",
                         const std::string& keras_version = "2.4.0");
std::string write_archive(const graph::Model& model);

// Layer name to "q_dense_1": layers are counted per class, in the order of the config.
//   layers  (layer name, class name)
std::map<std::string, std::string> archive_paths(const std::vector<std::pair<std::string, std::string>>& layers);
std::map<std::string, std::string> archive_paths(const graph::Model& model);

}  // namespace nibble::formats::keras
