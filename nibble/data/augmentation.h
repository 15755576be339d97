// nibble/data/augmentation.h
// Images of a training batch, changed at random: mirrored, moved by some pixels.
//
// What each image becomes is a function of (seed, epoch, index of the sample) alone, by Philox: the same in any batch,
// on any thread and in any process, and in a training that is resumed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "nibble/core/shape.h"

namespace nibble::data {

// A plain value: copy it, compare it. As made, it leaves images as they are.
struct Augmentation {
  bool flip = false;  // mirrored left to right with probability 1/2, before it is moved
  // Moved by -shift .. shift whole pixels down and to the right, each number as probable, the two axes independent.
  // What comes in from outside is 0: of the values as trained on, after preprocessing. That is black for `unit`, the
  // mean image for `tutorial`, and the middle of -1 .. 1.
  int64_t shift = 0;

  bool is_none() const { return !flip && shift == 0; }
  bool operator==(const Augmentation&) const = default;
};

// A list with commas: "flip", "shift" (by 2), "shift=4", "flip,shift=2"; or "none" alone.
//   throws  InvalidArgument for a name that is unknown or given twice, or a number that is not possible
Augmentation parse_augmentation(std::string_view text);

// "flip,shift=2", what parse_augmentation() takes; "none" where images stay.
std::string to_string(const Augmentation& augmentation);

// Whether samples of a shape can be augmented.
//   input   the name of what reads them, for the message
//   throws  InvalidArgument unless they are images [height, width, channels] whose smaller side is at least 2 * shift
void check_augmentation(const Augmentation& augmentation, const Shape& sample, std::string_view input);

// Changes a batch in place.
//   image    shape of a sample, one that check_augmentation() accepts
//   epoch    from 0
//   indices  of the samples in their data set, below 2^32
//   batch    their values, as trained on; read and written; indices.size() * image.elements()
//   throws   InvalidArgument if the sizes do not fit
void augment(const Augmentation& augmentation, const Shape& image, uint64_t seed, int64_t epoch,
             std::span<const int64_t> indices, std::span<float> batch);

}  // namespace nibble::data
