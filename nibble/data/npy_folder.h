// nibble/data/npy_folder.h
// A user's own data set: four NumPy arrays in a folder, or in one .npz archive, as Keras' mnist.npz.
//
//   x_train.npy, x_test.npy  [n, ...]: samples of any shape, images channel-last
//   y_train.npy, y_test.npy  integers [n] or [n, 1]: classes from 0;  anything else [n] or [n, ...]: real targets
#pragma once

#include <filesystem>
#include <string_view>

#include "nibble/data/dataset.h"

namespace nibble::data {

// Is `name` a folder or an archive rather than a data set of the catalogue? True where it holds a '/' or ends in
// ".npz", or such a folder exists.
bool names_a_path(std::string_view name);

// Bytes (|u1) stay bytes and are scaled as images are (max_value 255); other samples have a max_value of 1, so that
// preprocessing leaves their scale.
//   throws  IoError if a file is missing; CorruptFile and Unsupported as read_npy(); CorruptFile naming the file for
//           counts or shapes that differ, for NaN and infinity, and for labels that are no classes
Dataset read_npy_folder(const std::filesystem::path& folder);

// The same of the arrays x_train, y_train, x_test and y_test of an archive (npz.h); others in it are left alone.
//   throws  CorruptFile if one is missing; as above, and as NpzFile
Dataset read_npz_file(const std::filesystem::path& file);

// One of the two, by whether `path` is a folder or ends in ".npz".
Dataset read_own_arrays(const std::filesystem::path& path);

}  // namespace nibble::data
