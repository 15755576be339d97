#include "nibble/data/npy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string>
#include <string_view>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/data/input_stream.h"

namespace nibble::data {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr uint32_t kMaxHeaderBytes = 65536;
constexpr int kMaxRank = 32;  // NumPy's own limit

struct Header {
  std::string descr;
  bool fortran_order = false;
  Shape shape;
};

// Reads the one dictionary that the format allows; not a Python parser.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& file, uint64_t offset)
      : text_(text), file_(file), offset_(offset) {}

  Header parse() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        header.descr = quoted();
        has_descr = true;
      } else if (key == "fortran_order") {
        header.fortran_order = boolean();
        has_order = true;
      } else if (key == "shape") {
        header.shape = shape();
        has_shape = true;
      } else {
        fail(fmt::format("the key '{}' is unknown; descr, fortran_order and shape are allowed", key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!has_descr || !has_order || !has_shape) fail("one of descr, fortran_order and shape is missing");
    skip_blanks();
    if (at_ != text_.size()) fail("the dictionary should end here");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw CorruptFile("[read_npy] {} offset {}: in the header, {}.", file_, offset_ + at_, what);
  }
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool accept(char wanted) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(fmt::format("'{}' is expected", wanted));
  }
  bool accept_word(std::string_view word) {
    skip_blanks();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  std::string quoted() {
    skip_blanks();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"') fail("a text in quotes is expected");
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail("a text in quotes has no end");
    const std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    if (accept_word("True")) return true;
    if (accept_word("False")) return false;
    fail("True or False is expected");
  }
  int64_t extent() {
    skip_blanks();
    int64_t value = -1;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (error != std::errc{} || value < 0) fail("an extent, a whole number of at least 0, is expected");
    at_ = static_cast<size_t>(end - text_.data());
    accept_word("L");  // written by Python 2
    return value;
  }
  Shape shape() {
    std::vector<int64_t> extents;
    expect('(');
    while (!accept(')')) {
      extents.push_back(extent());
      if (extents.size() > kMaxRank) fail(fmt::format("the shape has more than {} axes", kMaxRank));
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return Shape(std::move(extents));
  }

  std::string_view text_;
  const std::string& file_;
  uint64_t offset_;
  size_t at_ = 0;
};

Header read_header(InputStream& in) {
  std::array<uint8_t, 8> start{};
  in.read_exactly(start, "the magic number of an .npy file");
  if (std::memcmp(start.data(), kMagic.data(), kMagic.size()) != 0) {
    throw CorruptFile("[read_npy] {} offset 0: the file does not begin with \\x93NUMPY; it is not an .npy file.",
                      in.name());
  }
  const int major = start[6];
  if (major < 1 || major > 3 || start[7] != 0) {
    throw Unsupported("[read_npy] {} offset 6: version {}.{} is unknown; 1.0, 2.0 and 3.0 are read.", in.name(), major,
                      start[7]);
  }
  std::array<uint8_t, 4> length_bytes{};
  in.read_exactly(std::span(length_bytes).first(major == 1 ? 2 : 4), "the length of the header");
  const uint32_t length = uint32_t{length_bytes[0]} | uint32_t{length_bytes[1]} << 8 | uint32_t{length_bytes[2]} << 16 |
                          uint32_t{length_bytes[3]} << 24;
  if (length > kMaxHeaderBytes) {
    throw CorruptFile("[read_npy] {} offset 8: the header is said to take {} bytes; {} at most are allowed.", in.name(),
                      length, kMaxHeaderBytes);
  }
  const uint64_t at = in.offset();
  const std::vector<uint8_t> text = in.read_vector(length, "the header");
  return HeaderParser({reinterpret_cast<const char*>(text.data()), text.size()}, in.name(), at).parse();
}

// Number of elements, checked against what the file can hold.
uint64_t checked_elements(const Header& header, size_t element_bytes, const InputStream& in) {
  uint64_t elements = 1;
  const auto extents = header.shape.extents();
  if (std::find(extents.begin(), extents.end(), 0) != extents.end()) return 0;
  for (const int64_t extent : extents) {
    if (elements > in.size_bound() / element_bytes / static_cast<uint64_t>(extent)) {
      throw CorruptFile("[read_npy] {}: an array of shape {} needs more bytes than the file can hold.", in.place(),
                        header.shape.str());
    }
    elements *= static_cast<uint64_t>(extent);
  }
  return elements;
}

template <class T>
std::vector<float> convert(InputStream& in, const Header& header) {
  const uint64_t elements = checked_elements(header, sizeof(T), in);
  const std::vector<uint8_t> bytes = in.read_vector(elements * sizeof(T), "the elements");
  std::vector<float> values(static_cast<size_t>(elements));
  for (size_t i = 0; i < values.size(); ++i) {
    T value;  // as the machine stores it: nibble runs on little-endian machines
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<float>(value);
  }
  return values;
}

std::vector<float> read_elements(InputStream& in, const Header& header) {
  const std::string& descr = header.descr;
  if (descr == "<f4") return convert<float>(in, header);
  if (descr == "<f8") return convert<double>(in, header);
  if (descr == "|u1" || descr == "<u1") return convert<uint8_t>(in, header);
  if (descr == "<i4") return convert<int32_t>(in, header);
  if (descr == "<i8") return convert<int64_t>(in, header);
  throw Unsupported(
      "[read_npy] {}: elements of type '{}' are not read; <f4, <f8, |u1, <i4 and <i8 are. Save "
      "array.astype('float32') instead, or array.astype('int32') where the numbers are classes.",
      in.name(), descr);
}

NpyElements kind_of(const std::string& descr) {
  if (descr.ends_with("u1")) return NpyElements::kByte;
  return descr.starts_with("<i") ? NpyElements::kInteger : NpyElements::kFloat;
}

}  // namespace

Tensor read_npy(const std::filesystem::path& path) { return read_npy_array(path).values; }

NpyArray read_npy_array(const std::filesystem::path& path) {
  InputStream in(path);
  return read_npy_array(in);
}

NpyArray read_npy_array(InputStream& in) {
  const Header header = read_header(in);
  if (header.fortran_order && header.shape.rank() > 1) {
    throw Unsupported("[read_npy] {}: the array is in Fortran order. Save numpy.ascontiguousarray(array) instead.",
                      in.name());
  }
  std::vector<float> values = read_elements(in, header);
  if (!in.at_end()) {
    throw CorruptFile("[read_npy] {}: bytes follow the {} elements of an array of shape {}.", in.place(), values.size(),
                      header.shape.str());
  }
  return {Tensor(header.shape, std::move(values)), kind_of(header.descr)};
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  std::string shape;
  for (const int64_t extent : tensor.shape()) shape += fmt::format("{}, ", extent);
  if (tensor.shape().rank() > 1) shape.resize(shape.size() - 2);  // "(3,)" but "(3, 4)"
  if (tensor.shape().rank() == 1) shape.resize(shape.size() - 1);
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape);
  constexpr size_t kPrefixBytes = 10, kAlignment = 64;  // magic, version, length; NumPy aligns the data
  while ((kPrefixBytes + header.size() + 1) % kAlignment != 0) header += ' ';
  header += '\n';
  std::string bytes(kMagic);
  bytes += {'\1', '\0', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(tensor.data().data()), tensor.data().size_bytes());
  write_file(path, bytes);
}

}  // namespace nibble::data
