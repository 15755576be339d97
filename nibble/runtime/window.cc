#include "nibble/runtime/window.h"

#include "nibble/core/error.h"

namespace nibble::runtime {

Shape windowed_shape(const char* where, const Shape& input, const Window& w, int64_t channels) {
  Shape output{input[0], 0, 0, channels};
  for (size_t a = 0; a < 2; ++a) {
    if (w.size[a] < 1 || w.stride[a] < 1 || w.dilation[a] < 1 || w.before[a] < 0 || w.after[a] < 0) {
      throw InvalidArgument(
          "[{}] window {}, stride {}, dilation {}, padding {} and {}: the first three must be at least 1, padding at "
          "least 0.",
          where, w.size[a], w.stride[a], w.dilation[a], w.before[a], w.after[a]);
    }
    const int64_t in = input[static_cast<int>(a) + 1] + w.before[a] + w.after[a];
    const int64_t reach = (w.size[a] - 1) * w.dilation[a] + 1;
    if (in < reach) {
      throw InvalidArgument("[{}] a window of {} does not fit an extent of {} (padding included).", where, reach, in);
    }
    output[static_cast<int>(a) + 1] = (in - reach) / w.stride[a] + 1;
  }
  return output;
}

}  // namespace nibble::runtime
