#include "nibble/data/augmentation.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/core/philox.h"

namespace nibble::data {
namespace {

constexpr int64_t kUsualShift = 2;

const std::vector<std::string>& known_names() {
  static const std::vector<std::string> names = {"flip", "shift"};
  return names;
}

std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0;;) {
    const size_t comma = text.find(',', begin);
    parts.push_back(text.substr(begin, comma - begin));
    if (comma == text.npos) return parts;
    begin = comma + 1;
  }
}

int64_t parse_shift(std::string_view number) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error == std::errc() && end == number.data() + number.size() && value >= 1) return value;
  throw InvalidArgument(
      "[augmentation] shift={} is no number of pixels; give a whole one from 1 to half of the images' smaller side, as "
      "in shift=2.",
      number);
}

// Where one image goes; `down` and `right` in pixels.
struct Change {
  bool is_mirrored = false;
  int64_t down = 0, right = 0;
};

// -shift .. shift. Products instead of remainders: no number is more probable than another by more than 2^-32 of 1.
int64_t distance_of(uint32_t word, int64_t shift) {
  const auto choices = static_cast<uint64_t>(2 * shift + 1);
  return static_cast<int64_t>((word * choices) >> 32) - shift;
}

// One block of random words a sample, whatever is asked for: to add a flip leaves the shifts as they were.
Change change_of(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t index) {
  const RandomKey key{.seed = seed, .purpose = RandomPurpose::kAugmentation, .step = static_cast<uint32_t>(epoch)};
  const auto words = random_block(key, static_cast<uint32_t>(index));
  return {.is_mirrored = augmentation.flip && (words[0] >> 31) != 0,
          .down = distance_of(words[1], augmentation.shift),
          .right = distance_of(words[2], augmentation.shift)};
}

struct Extents {
  int64_t height, width, channels;
  int64_t row() const { return width * channels; }
};

void mirror(const Extents& e, float* image) {
  for (float* row = image; row != image + e.height * e.row(); row += e.row()) {
    float *left = row, *right = row + e.row() - e.channels;
    for (; left < right; left += e.channels, right -= e.channels) std::swap_ranges(left, left + e.channels, right);
  }
}

// `to` becomes `from`, moved; the two may be one row.
void move_row(const Extents& e, const float* from, int64_t right, float* to) {
  const int64_t gap = std::abs(right) * e.channels, kept = e.row() - gap;
  if (right >= 0) {
    std::copy_backward(from, from + kept, to + e.row());  // memmove
    std::fill_n(to, gap, 0.0f);
  } else {
    std::copy(from + gap, from + e.row(), to);
    std::fill_n(to + kept, gap, 0.0f);
  }
}

void move(const Extents& e, int64_t down, int64_t right, float* image) {
  for (int64_t i = 0; i < e.height; ++i) {
    const int64_t y = down > 0 ? e.height - 1 - i : i;  // none is read after it was written
    const int64_t source = y - down;
    float* to = image + y * e.row();
    if (source >= 0 && source < e.height) {
      move_row(e, image + source * e.row(), right, to);
    } else {
      std::fill_n(to, e.row(), 0.0f);
    }
  }
}

}  // namespace

Augmentation parse_augmentation(std::string_view text) {
  Augmentation result;
  if (text == "none") return result;
  std::vector<std::string_view> seen;
  for (const std::string_view part : parts_of(text)) {
    const size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    if (part.empty() || name == "none") {
      throw InvalidArgument("[augmentation] '{}' is no list of changes; give one such as flip,shift=2, or none alone.",
                            text);
    }
    if (std::find(known_names().begin(), known_names().end(), name) == known_names().end()) {
      throw InvalidArgument("[augmentation] '{}' is unknown. {}", name, suggest(name, known_names()));
    }
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      throw InvalidArgument("[augmentation] '{}' has {} twice; once is enough.", text, name);
    }
    seen.push_back(name);
    if (name == "flip" && equals != part.npos) {
      throw InvalidArgument("[augmentation] '{}': flip takes no number; write flip alone.", part);
    }
    if (name == "flip") result.flip = true;
    if (name == "shift") result.shift = equals == part.npos ? kUsualShift : parse_shift(part.substr(equals + 1));
  }
  return result;
}

std::string to_string(const Augmentation& augmentation) {
  if (augmentation.is_none()) return "none";
  if (augmentation.shift == 0) return "flip";
  return fmt::format("{}shift={}", augmentation.flip ? "flip," : "", augmentation.shift);
}

void check_augmentation(const Augmentation& augmentation, const Shape& sample, std::string_view input) {
  if (augmentation.is_none()) return;
  if (sample.rank() != 3) {
    throw InvalidArgument(
        "[augmentation] input '{}' takes samples of shape {}, but {} is for images, [height, width, channels]; leave "
        "it "
        "out for this model.",
        input, sample.str(), to_string(augmentation));
  }
  const int64_t most = std::min(sample[0], sample[1]) / 2;
  if (augmentation.shift >= 0 && augmentation.shift <= most) return;
  throw InvalidArgument(
      "[augmentation] input '{}' takes images of shape {}, and shift is {}; give at most {}, half of their smaller "
      "side.",
      input, sample.str(), augmentation.shift, most);
}

void augment(const Augmentation& augmentation, const Shape& image, uint64_t seed, int64_t epoch,
             std::span<const int64_t> indices, std::span<float> batch) {
  if (augmentation.is_none()) return;
  check_augmentation(augmentation, image, "batch");
  if (std::ssize(batch) != std::ssize(indices) * image.elements()) {
    throw InvalidArgument("[augment] the batch holds {} values; {} images of shape {} have {}.", batch.size(),
                          indices.size(), image.str(), std::ssize(indices) * image.elements());
  }
  const Extents extents{image[0], image[1], image[2]};
  for (size_t i = 0; i < indices.size(); ++i) {
    float* values = batch.data() + static_cast<int64_t>(i) * image.elements();
    const Change change = change_of(augmentation, seed, epoch, indices[i]);
    if (change.is_mirrored) mirror(extents, values);
    if (change.down != 0 || change.right != 0) move(extents, change.down, change.right, values);
  }
}

}  // namespace nibble::data
