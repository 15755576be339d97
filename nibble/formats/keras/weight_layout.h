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
