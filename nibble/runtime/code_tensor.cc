#include "nibble/runtime/code_tensor.h"

#include "nibble/core/error.h"

namespace nibble::runtime {

void check_tensor(const char* where, const CodeTensor& tensor, int rank) {
  if (tensor.shape.rank() != rank) {
    throw InvalidArgument("[{}] a tensor of {} axes is needed, but the shape is {}.", where, rank, tensor.shape.str());
  }
  check_length(where, "codes", tensor.codes.size(), tensor.shape.elements());
}

void check_length(const char* where, const char* what, size_t given, int64_t needed) {
  if (static_cast<int64_t>(given) == needed) return;
  throw InvalidArgument("[{}] {} {} were given where {} are needed.", where, given, what, needed);
}

}  // namespace nibble::runtime
