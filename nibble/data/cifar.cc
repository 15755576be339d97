#include "nibble/data/cifar.h"

#include <algorithm>
#include <array>
#include <utility>

#include "nibble/core/error.h"
#include "nibble/data/tar.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

constexpr size_t kSide = 32, kPlane = kSide * kSide, kChannels = 3, kImageBytes = kPlane * kChannels;
constexpr size_t kMaxRecordBytes = kImageBytes + 2;
constexpr int64_t kMaxRecords = 10'000'000;  // 200 times the real set; a compressed file can claim anything

size_t record_bytes(CifarKind kind) { return kImageBytes + (kind == CifarKind::kCifar10 ? 1 : 2); }

// Planes to pixels: [channel][position] -> [position][channel].
void append_channels_last(const uint8_t* planes, std::vector<uint8_t>& pixels) {
  const size_t at = pixels.size();
  pixels.resize(at + kImageBytes);
  uint8_t* out = pixels.data() + at;
  for (size_t i = 0; i < kPlane; ++i) {
    for (size_t channel = 0; channel < kChannels; ++channel) *out++ = planes[channel * kPlane + i];
  }
}

// The batches of one split by their place in the layout.
std::vector<CifarRecords> empty_batches(const std::vector<std::string>& names, CifarKind kind) {
  return std::vector<CifarRecords>(names.size(), CifarRecords(kind));
}

Samples join(std::vector<CifarRecords> batches) {
  if (batches.size() == 1) return batches[0].take();
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  int64_t count = 0;
  for (const CifarRecords& batch : batches) count += batch.count();
  pixels.reserve(static_cast<size_t>(count) * kImageBytes);
  for (CifarRecords& batch : batches) {
    const Samples part = batch.take();
    pixels.insert(pixels.end(), part.bytes().begin(), part.bytes().end());
    labels.insert(labels.end(), part.labels().begin(), part.labels().end());
  }
  return Samples(Shape{kSide, kSide, kChannels}, std::move(pixels), std::move(labels));
}

// Where a member belongs: its batch, or null if the layout does not ask for it.
struct Slot {
  std::string name;
  CifarRecords* batch;
  bool filled = false;
};

std::vector<Slot> make_slots(const CifarLayout& layout, std::vector<CifarRecords>& train,
                             std::vector<CifarRecords>& test) {
  std::vector<Slot> slots;
  for (size_t i = 0; i < train.size(); ++i) slots.push_back({layout.train[i], &train[i]});
  for (size_t i = 0; i < test.size(); ++i) slots.push_back({layout.test[i], &test[i]});
  return slots;
}

}  // namespace

void CifarRecords::append(InputStream& stream, uint64_t size, std::string_view what) {
  const size_t record = record_bytes(kind_);
  if (size == 0 || size % record != 0) {
    throw CorruptFile("[read_cifar] {}: {} has {} bytes, which is not a whole number of records of {} bytes.",
                      stream.name(), what, size, record);
  }
  if (size / record > static_cast<uint64_t>(kMaxRecords - count())) {
    throw CorruptFile("[read_cifar] {}: {} announces {} records; more than {} are not read.", stream.name(), what,
                      size / record, kMaxRecords);
  }
  std::array<uint8_t, kMaxRecordBytes> buffer{};
  const size_t label_at = record - kImageBytes - 1;
  for (uint64_t i = 0; i < size / record; ++i) {
    const uint64_t at = stream.offset();
    stream.read_exactly(std::span(buffer).first(record), what);
    if (buffer[label_at] >= cifar_classes(kind_)) {
      throw CorruptFile("[read_cifar] {}: {}, record {} (offset {}): label {} is not in 0 .. {}.", stream.name(), what,
                        i, at + label_at, buffer[label_at], cifar_classes(kind_) - 1);
    }
    labels_.push_back(buffer[label_at]);
    append_channels_last(buffer.data() + label_at + 1, pixels_);
  }
}

Samples CifarRecords::take() {
  return Samples(Shape{kSide, kSide, kChannels}, std::exchange(pixels_, {}), std::exchange(labels_, {}));
}

CifarSplits read_cifar_folder(const fs::path& folder, const CifarLayout& layout) {
  std::vector<CifarRecords> train = empty_batches(layout.train, layout.kind);
  std::vector<CifarRecords> test = empty_batches(layout.test, layout.kind);
  for (Slot& slot : make_slots(layout, train, test)) {
    InputStream stream(folder / slot.name);
    std::error_code error;
    slot.batch->append(stream, fs::file_size(folder / slot.name, error), slot.name);
  }
  return {join(std::move(train)), join(std::move(test))};
}

CifarSplits read_cifar_archive(const fs::path& archive, const CifarLayout& layout) {
  std::vector<CifarRecords> train = empty_batches(layout.train, layout.kind);
  std::vector<CifarRecords> test = empty_batches(layout.test, layout.kind);
  std::vector<Slot> slots = make_slots(layout, train, test);
  InputStream stream(archive);
  TarReader members(stream);
  while (const auto member = members.next()) {
    const std::string name = fs::path(member->name).filename().string();
    const auto slot = std::find_if(slots.begin(), slots.end(), [&](const Slot& s) { return s.name == name; });
    if (slot == slots.end() || slot->filled) continue;
    slot->batch->append(stream, member->size, member->name);
    slot->filled = true;
  }
  stream.drain();
  for (const Slot& slot : slots) {
    if (!slot.filled) {
      throw CorruptFile("[read_cifar] {}: the archive ends at offset {} without the member {}.", stream.name(),
                        stream.offset(), slot.name);
    }
  }
  return {join(std::move(train)), join(std::move(test))};
}

}  // namespace nibble::data
