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
constexpr size_t kLimit = size_t{3} << 30;  // more is not kept

// Stands before every block's data. torch also frees memory by the data's address alone.
struct alignas(kAlignment) Header {
  size_t bytes;  // of the data
};

Header* header_of(void* data) { return static_cast<Header*>(data) - 1; }

class CachingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) const override {
    void* data = bytes == 0 ? nullptr : take(bytes);
    return {data, data, &CachingAllocator::release, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &CachingAllocator::release; }

  static CachingAllocator& instance() {
    static auto* allocator = new CachingAllocator;  // never destroyed: tensors may die after statics
    return *allocator;
  }

  void empty() const {
    const std::lock_guard lock(mutex_);
    empty_locked();
  }

  size_t cached() const {
    const std::lock_guard lock(mutex_);
    return cached_;
  }

 private:
  // A kept block that is at most an eighth too large, else a new one.
  void* take(size_t bytes) const {
    if (bytes >= kSmallest) {
      const std::lock_guard lock(mutex_);
      const auto found = free_.lower_bound(bytes);
      if (found != free_.end() && found->first <= bytes + bytes / 8) {
        void* data = found->second;
        cached_ -= found->first;
        free_.erase(found);
        return data;
      }
    }
    return new_block((bytes + kAlignment - 1) / kAlignment * kAlignment);
  }

  void* new_block(size_t bytes) const {
    const size_t whole = bytes + sizeof(Header);
    const size_t alignment = whole >= kHugePage ? kHugePage : kAlignment;
    void* base = nullptr;
    if (posix_memalign(&base, alignment, whole) != 0) {
      empty();  // what is kept may be enough
      if (posix_memalign(&base, alignment, whole) != 0) throw std::bad_alloc();
    }
    if (whole >= kHugePage) madvise(base, whole, MADV_HUGEPAGE);
    auto* header = new (base) Header{bytes};
    return header + 1;
  }

  static void release(void* data) {
    if (data == nullptr) return;
    CachingAllocator& self = instance();
    const size_t bytes = header_of(data)->bytes;
    if (bytes >= kSmallest) {
      const std::lock_guard lock(self.mutex_);
      // Full of sizes that nobody asks for any more: begin anew.
      if (self.cached_ + bytes > kLimit) self.empty_locked();
      if (bytes <= kLimit) {
        self.free_.emplace(bytes, data);
        self.cached_ += bytes;
        return;
      }
    }
    std::free(header_of(data));
  }

  void empty_locked() const {
    for (const auto& [bytes, data] : free_) std::free(header_of(data));
    free_.clear();
    cached_ = 0;
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

void empty_cache() { CachingAllocator::instance().empty(); }

size_t cached_bytes() { return CachingAllocator::instance().cached(); }

}  // namespace nibble::train
