// nibble/formats/keras/keras_file.h
// Keras' own files: the `.keras` archive (zip of metadata.json, config.json and
// model.weights.h5, Keras 3), which is nibble's native file, and HDF5 weights.
// Layout: spec/interop.md sections 3 and 4.
#pragma once

#include <filesystem>

#include "nibble/graph/model.h"

namespace nibble::formats::keras {

// What a file's name asks for.
//   .keras       Keras 3's archive
//   .h5, .hdf5   one HDF5 file with configuration and weights (the legacy layout)
//   .json        the configuration; the weights beside it in NAME_weights.h5
enum class FileKind { kArchive, kHdf5, kJson };
//   throws  InvalidArgument for another ending
FileKind kind_by_name(const std::filesystem::path& path);

// Where the weights of a .json lie.
std::filesystem::path weights_beside(const std::filesystem::path& json);

// Who shall read the configuration. Keras 3 and qkerasV3 do not read what Keras 2 and QKeras read, nor the other way
// round; nibble reads both.
enum class Flavour { kKeras2, kKeras3 };

// Writes the kind that the name asks for, atomically (each file); the same model gives the same bytes.
//   throws  IoError; InvalidArgument if a layer has no weights yet, for an unknown ending, or for a .keras file in the
//           flavour of Keras 2, which has none
void save_model(const graph::Model& model, const std::filesystem::path& path, Flavour flavour = Flavour::kKeras3);

// Reads a model; the kind of file is told by its content, then its name.
//   throws  IoError, CorruptFile, Unsupported
graph::Model load_model(const std::filesystem::path& path);

// Whom a model file was written for: by its keras_version where it tells one, else by what only Keras 3 writes.
//   throws  as load_model()
Flavour flavour_of(const std::filesystem::path& path);

// Weights only, Keras' legacy HDF5 layout (spec/interop.md section 3).
void save_weights(const graph::Model& model, const std::filesystem::path& path);
// Replaces the weights of `model` by those of the file, matched by layer name.
//   throws  CorruptFile, InvalidArgument if a layer or a shape does not match
void load_weights(graph::Model& model, const std::filesystem::path& path);

}  // namespace nibble::formats::keras
