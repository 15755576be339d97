#include "nibble/train/caching_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

namespace nibble::train {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmallest = size_t{1} << 16;  // below this malloc does well enough
constexpr size_t kHugePage = size_t{1} << 21;
constexpr size_t kLimit = size_t{3} << 30;  // more is given back to the system

struct Block {
  void* data;
  size_t bytes;
};

class CachingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) const override {
    if (bytes == 0) return {nullptr, nullptr, &c10::detail::deleteNothing, c10::Device(c10::DeviceType::CPU)};
    auto* block = new Block(take(bytes));
    return {block->data, block, &CachingAllocator::release, c10::Device(c10::DeviceType::CPU)};
  }

  static CachingAllocator& instance() {
    static auto* allocator = new CachingAllocator;  // never destroyed: tensors may die after statics
    return *allocator;
  }

  size_t cached() const {
    const std::lock_guard lock(mutex_);
    return cached_;
  }

 private:
  // A kept block that is at most an eighth too large, else a new one.
  Block take(size_t bytes) const {
    if (bytes >= kSmallest) {
      const std::lock_guard lock(mutex_);
      const auto found = free_.lower_bound(bytes);
      if (found != free_.end() && found->first <= bytes + bytes / 8) {
        const Block block{found->second, found->first};
        free_.erase(found);
        cached_ -= block.bytes;
        return block;
      }
    }
    const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* data = nullptr;
    if (posix_memalign(&data, alignment, rounded) != 0) throw std::bad_alloc();
    if (rounded >= kHugePage) madvise(data, rounded, MADV_HUGEPAGE);
    return {data, rounded};
  }

  static void release(void* context) {
    auto* block = static_cast<Block*>(context);
    CachingAllocator& self = instance();
    bool kept = false;
    if (block->bytes >= kSmallest) {
      const std::lock_guard lock(self.mutex_);
      kept = self.cached_ + block->bytes <= kLimit;
      if (kept) {
        self.free_.emplace(block->bytes, block->data);
        self.cached_ += block->bytes;
      }
    }
    if (!kept) std::free(block->data);
    delete block;
  }

  mutable std::mutex mutex_;
  mutable std::multimap<size_t, void*> free_;
  mutable size_t cached_ = 0;
};

}  // namespace

void install_caching_allocator() {
  static const bool installed = [] {
    c10::SetCPUAllocator(&CachingAllocator::instance(), 1);
    return true;
  }();
  (void)installed;
}

size_t cached_bytes() { return CachingAllocator::instance().cached(); }

}  // namespace nibble::train
