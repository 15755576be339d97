// nibble/program/program_file.h
// .nbl: an integer program in one file.
//
//   "nibble\0" and a byte with the version, then CBOR (RFC 8949) of the program, then the CRC-32 of all before it,
//   little-endian.
// Weights are packed with as many bits as the widest of the layer needs, -1 and 1 with one; thresholds and codes as
// lines (packed_integers.h).
#pragma once

#include <filesystem>

#include "nibble/program/program.h"

namespace nibble::program {

// Atomic. throws IoError
void save_program(const Program& program, const std::filesystem::path& path);

// What is read has passed validate().
//   throws  IoError; CorruptFile saying what is wrong
Program load_program(const std::filesystem::path& path);

}  // namespace nibble::program
