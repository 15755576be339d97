// Hdf5Reader asks a process of its own; see isolated_process.h for the reason.
//
// A request is a letter and two texts, each with a 0 behind it (HDF5's names cannot hold one); an answer begins with
// the letter of an Answer.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "nibble/core/error.h"
#include "nibble/formats/keras/hdf5_direct.h"
#include "nibble/formats/keras/hdf5_file.h"
#include "nibble/formats/keras/isolated_process.h"

namespace nibble::formats::keras {
namespace {

enum Request : char { kHasGroup = 'g', kHasDataset = 'd', kText = 't', kTexts = 'l', kTensor = 'x' };
enum Answer : char {
  kValue = 'v',
  kNothing = 'n',
  kCorruptFile = 'c',
  kInvalidArgument = 'i',
  kUnsupported = 'u',
  kNoMemory = 'm'
};

std::string make_request(Request kind, const std::string& first, const std::string& second) {
  std::string request(1, kind);
  request.append(first.c_str()).push_back('\0');
  request.append(second.c_str()).push_back('\0');
  return request;
}

std::string extents_text(const Shape& shape) { return fmt::format("{}", fmt::join(shape.extents(), " ")); }

Shape parse_extents(const char* text) {
  std::vector<int64_t> extents;
  const char* end = text + std::strlen(text);
  while (text < end) {
    int64_t extent = 0;
    text = std::from_chars(text, end, extent).ptr + 1;
    extents.push_back(extent);
  }
  return Shape(std::move(extents));
}

void append_text(std::string& answer, const std::string& text) {
  const uint64_t size = text.size();
  answer.append(reinterpret_cast<const char*>(&size), sizeof size).append(text);
}

std::vector<std::string> split_texts(std::string_view answer) {
  std::vector<std::string> texts;
  uint64_t size = 0;
  while (answer.size() >= sizeof size) {
    std::memcpy(&size, answer.data(), sizeof size);
    texts.emplace_back(answer.substr(sizeof size, size));
    answer.remove_prefix(sizeof size + texts.back().size());
  }
  return texts;
}

// What reading a file of this size may take: HDF5 keeps copies of the bytes, numbers grow on their way to float32, and
// a small file may hold well compressed ones.
IsolatedProcess::Limits limits_of(uint64_t file_size) {
  return {.memory_bytes = 8 * file_size + (uint64_t{1} << 30), .cpu_s = 60 + (file_size >> 20)};
}

// The texts of a file, with the 8 bytes of each one's size, for the shortest texts; numbers have their own bound.
uint64_t largest_texts(uint64_t file_size) { return 9 * file_size; }

// No more float32 numbers than the file holds, deflated bytes at the best.
uint64_t largest_tensor(uint64_t file_size, const Shape& expected) {
  const auto elements = static_cast<uint64_t>(expected.elements());
  return sizeof(float) * std::min(elements, file_size * kLargestExpansion);
}

std::string found(bool value) { return std::string(1, value ? kValue : kNothing); }

std::string answer_with_texts(const std::optional<std::vector<std::string>>& texts) {
  if (!texts) return found(false);
  std::string answer(1, kValue);
  for (const std::string& text : *texts) append_text(answer, text);
  return answer;
}

std::string perform(const Hdf5Direct& file, std::string_view request) {
  const char* first = request.data() + 1;
  const char* second = first + std::strlen(first) + 1;
  switch (request.front()) {
    case kHasGroup:
      return found(file.has_group(first));
    case kHasDataset:
      return found(file.has_dataset(first));
    case kTexts:
      return answer_with_texts(file.texts(first, second));
    case kText: {
      const std::optional<std::string> text = file.text(first, second);
      return text ? std::string(1, kValue) + *text : found(false);
    }
    default:
      break;
  }
  const Tensor tensor = file.tensor(first, parse_extents(second));
  std::string answer(1, kValue);
  answer.append(reinterpret_cast<const char*>(tensor.data().data()), tensor.data().size_bytes());
  return answer;
}

template <class Work>
std::string without_exceptions(Work&& work) {
  try {
    return work();
  } catch (const CorruptFile& error) {
    return std::string(1, kCorruptFile) + error.what();
  } catch (const InvalidArgument& error) {
    return std::string(1, kInvalidArgument) + error.what();
  } catch (const Unsupported& error) {
    return std::string(1, kUnsupported) + error.what();
  } catch (...) {
    return std::string(1, kNoMemory);
  }
}

// Lives in the child.
IsolatedProcess::Serve serve_file(const std::string& bytes, const std::string& name) {
  auto file = std::make_shared<Hdf5Direct>(bytes, name);
  const std::string opened = without_exceptions([&] {
    file->open();
    return found(true);
  });
  return [file, opened](std::string_view request) {
    if (opened.front() != kValue) return opened;
    return without_exceptions([&] { return perform(*file, request); });
  };
}

}  // namespace

struct Hdf5Reader::Impl {
  std::string bytes, name;
  std::unique_ptr<IsolatedProcess> process;

  // The answer behind its letter, of at most `largest` bytes; nothing for kNothing.
  std::optional<std::string> ask(Request kind, const std::string& first, const std::string& second = "",
                                 uint64_t largest = 0) const {
    const std::string request = make_request(kind, first, second);
    // An error's message repeats names, and little else.
    const uint64_t largest_message = 4096 + name.size() + 2 * request.size();
    std::optional<std::string> answer = process->call(request, 1 + std::max(largest, largest_message));
    if (!answer || answer->empty()) {
      throw CorruptFile("[keras] {}: it is damaged: the HDF5 library failed while reading '{}'.", name, first);
    }
    const char letter = answer->front();
    answer->erase(0, 1);
    switch (letter) {
      case kValue:
        return answer;
      case kNothing:
        return std::nullopt;
      case kInvalidArgument:
        throw InvalidArgument("{}", *answer);
      case kUnsupported:
        throw Unsupported("{}", *answer);
      case kNoMemory:
        throw CorruptFile("[keras] {}: '{}' does not fit into memory.", name, first);
      default:
        throw CorruptFile("{}", *answer);
    }
  }
};

Hdf5Reader::Hdf5Reader(std::string bytes, std::string name) : impl_(std::make_unique<Impl>()) {
  impl_->bytes = std::move(bytes);
  impl_->name = std::move(name);
  const Hdf5Session session;  // the child starts with a library that no other thread is using
  impl_->process = std::make_unique<IsolatedProcess>(limits_of(impl_->bytes.size()),
                                                     [this] { return serve_file(impl_->bytes, impl_->name); });
  impl_->ask(kHasGroup, "/");
}

Hdf5Reader::~Hdf5Reader() = default;

bool Hdf5Reader::has_group(const std::string& path) const { return impl_->ask(kHasGroup, path).has_value(); }
bool Hdf5Reader::has_dataset(const std::string& path) const { return impl_->ask(kHasDataset, path).has_value(); }

std::optional<std::string> Hdf5Reader::text(const std::string& group, const std::string& attribute) const {
  return impl_->ask(kText, group, attribute, largest_texts(impl_->bytes.size()));
}

std::optional<std::vector<std::string>> Hdf5Reader::texts(const std::string& group,
                                                          const std::string& attribute) const {
  const std::optional<std::string> answer = impl_->ask(kTexts, group, attribute, largest_texts(impl_->bytes.size()));
  return answer ? std::optional(split_texts(*answer)) : std::nullopt;
}

Tensor Hdf5Reader::tensor(const std::string& path, const Shape& expected) const {
  const uint64_t largest = largest_tensor(impl_->bytes.size(), expected);
  const std::string numbers = impl_->ask(kTensor, path, extents_text(expected), largest).value_or("");
  Tensor result(expected);
  if (numbers.size() != result.data().size_bytes()) {
    throw CorruptFile("[keras] {}: '{}' holds {} bytes instead of {}.", impl_->name, path, numbers.size(),
                      result.data().size_bytes());
  }
  if (!numbers.empty()) std::memcpy(result.data().data(), numbers.data(), numbers.size());
  return result;
}

}  // namespace nibble::formats::keras
