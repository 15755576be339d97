// nibble/data/digits_csv.h
// The UCI data set "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998,
// doi:10.24432/C50P49): a line is an 8x8 image of values 0-16, row by row, then the label 0-9,
// all separated by commas. Files optdigits.tra and optdigits.tes; scikit-learn's digits.csv.gz
// has the bytes of the latter.
#pragma once

#include <filesystem>

#include "nibble/data/dataset.h"

namespace nibble::data {

// Plain or gzip-compressed. Samples of shape (8, 8, 1). Blank lines and carriage returns are passed over.
//   throws  IoError; CorruptFile naming file, line and offset
Samples read_digits_csv(const std::filesystem::path& path);

}  // namespace nibble::data
