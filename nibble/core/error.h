// nibble/core/error.h
// The few kinds of error of the library. Every message is a sentence that says
// where it happened, what was given, what is allowed and what to do next.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace nibble {

// Base of all errors thrown by nibble.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Each kind formats its message with fmt:
//   throw InvalidArgument("[fit] epochs is {}; it must be at least 1.", epochs);
#define NIBBLE_ERROR_KIND(Kind)                                       \
  class Kind : public Error {                                         \
   public:                                                            \
    template <class... Args>                                          \
    explicit Kind(fmt::format_string<Args...> format, Args&&... args) \
        : Error(fmt::format(format, std::forward<Args>(args)...)) {}  \
  }

NIBBLE_ERROR_KIND(InvalidArgument);  // the call, the command line or the configuration is wrong
NIBBLE_ERROR_KIND(CorruptFile);      // the bytes of a file are not what the format allows
NIBBLE_ERROR_KIND(Unsupported);      // valid, but something nibble cannot do yet
NIBBLE_ERROR_KIND(IoError);          // the operating system refused to read or write

#undef NIBBLE_ERROR_KIND

}  // namespace nibble
