#include "nibble/data/tar.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "nibble/core/error.h"

namespace nibble::data {
namespace {

constexpr size_t kBlockBytes = 512;
constexpr uint64_t kMaxMemberBytes = uint64_t{1} << 33;  // what 11 octal digits can say
using Block = std::array<uint8_t, kBlockBytes>;

// Fields of the header: offset and length.
struct Field {
  size_t offset, length;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kMagic{257, 5}, kPrefix{345, 155};
constexpr size_t kType = 156;

std::string_view text_of(const Block& block, Field field) {
  const std::string_view raw(reinterpret_cast<const char*>(block.data()) + field.offset, field.length);
  return raw.substr(0, raw.find('\0'));
}

std::optional<uint64_t> octal_of(const Block& block, Field field) {
  std::string_view digits = text_of(block, field);
  while (!digits.empty() && digits.front() == ' ') digits.remove_prefix(1);
  while (!digits.empty() && digits.back() == ' ') digits.remove_suffix(1);
  if (digits.empty()) return std::nullopt;
  uint64_t value = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '7') return std::nullopt;
    value = value * 8 + static_cast<uint64_t>(digit - '0');
  }
  return value;
}

// The sum of the header's bytes, its own field counted as blanks.
uint64_t checksum_of(const Block& block) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlockBytes; ++i) {
    const bool own = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    sum += own ? uint64_t{' '} : block[i];
  }
  return sum;
}

std::string name_of(const Block& block) {
  std::string name(text_of(block, kName));
  const bool is_ustar = text_of(block, kMagic).starts_with("ustar");
  const std::string_view prefix = text_of(block, kPrefix);
  if (is_ustar && !prefix.empty()) name = std::string(prefix) + "/" + name;
  return name;
}

}  // namespace

std::optional<TarMember> TarReader::next() {
  for (;;) {
    stream_.skip(next_header_ - stream_.offset(), "a member of the archive");
    if (stream_.at_end()) return std::nullopt;  // some writers leave out the closing blocks
    Block block{};
    const uint64_t at = stream_.offset();
    stream_.read_exactly(block, "a tar header");
    if (std::all_of(block.begin(), block.end(), [](uint8_t byte) { return byte == 0; })) return std::nullopt;
    if (octal_of(block, kChecksum) != checksum_of(block)) {
      throw CorruptFile("[tar] {} offset {}: this is not a tar header (its checksum is wrong); the archive is damaged.",
                        stream_.name(), at);
    }
    const auto size = octal_of(block, kSize);
    if (!size || *size > kMaxMemberBytes) {
      throw CorruptFile("[tar] {} offset {}: the size of member '{}' is not an octal number up to {}.", stream_.name(),
                        at + kSize.offset, name_of(block), kMaxMemberBytes);
    }
    next_header_ = stream_.offset() + (*size + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    const uint8_t type = block[kType];
    if (type == '0' || type == '\0') return TarMember{name_of(block), *size};
  }
}

}  // namespace nibble::data
