// nibble/formats/keras/hdf5_handle.h
// HDF5 identifiers that close themselves.
#pragma once

#include <hdf5.h>

#include <mutex>
#include <utility>

namespace nibble::formats::keras {

// Owns one identifier; negative is "none".
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }
  bool valid() const { return id_ >= 0; }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// One user of the library at a time, with its printing of errors off meanwhile.
class Hdf5Session {
 public:
  Hdf5Session() : lock_(mutex()) {
    // Handles close themselves. A damaged file can leave the library's own shutdown at the end of the process in a loop
    // that it breaks off with a complaint on stderr, so it is not asked for.
    static const herr_t once = H5dont_atexit();
    (void)once;
    H5open();
    H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Hdf5Session() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

 private:
  static std::mutex& mutex() {
    static std::mutex instance;
    return instance;
  }
  std::lock_guard<std::mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

}  // namespace nibble::formats::keras
