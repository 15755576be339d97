#include <algorithm>
#include <cstring>

#include "nibble/core/error.h"
#include "nibble/formats/keras/hdf5_file.h"
#include "nibble/formats/keras/hdf5_handle.h"

namespace nibble::formats::keras {
namespace {

// Keras' limit for one attribute: object headers end at 64 KiB.
constexpr size_t kLargestAttribute = 64512;

void check(bool succeeded, const char* what) {
  if (!succeeded) throw IoError("[keras] HDF5 could not write {}.", what);
}

}  // namespace

struct Hdf5Writer::Impl {
  Hdf5Session session;
  Handle file;
  Handle group_create{H5Pcreate(H5P_GROUP_CREATE), H5Pclose};
  Handle data_create{H5Pcreate(H5P_DATASET_CREATE), H5Pclose};

  Impl() {
    // No clock in a file: the same model must give the same bytes.
    H5Pset_obj_track_times(group_create, false);
    H5Pset_obj_track_times(data_create, false);
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18);
    H5Pset_fapl_core(access, 1 << 20, false);
    const Handle create(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
    H5Pset_obj_track_times(create, false);
    file = Handle(H5Fcreate("in-memory", H5F_ACC_TRUNC, create, access), H5Fclose);
    check(file.valid(), "a file in memory");
  }

  Handle open_group(const std::string& path) const {
    return Handle(H5Gopen2(file, path.c_str(), H5P_DEFAULT), H5Gclose);
  }

  // Intermediate groups made by HDF5 itself would carry times.
  void make_groups(const std::string& path) const {
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      const std::string part = path.substr(0, end);
      if (!part.empty() && part != "/" && !open_group(part).valid()) {
        const Handle made(H5Gcreate2(file, part.c_str(), H5P_DEFAULT, group_create, H5P_DEFAULT), H5Gclose);
        check(made.valid(), part.c_str());
      }
      if (end == std::string::npos) return;
    }
  }

  void write_attribute(const std::string& group, const std::string& name, hid_t type, hid_t space,
                       const void* data) const {
    const Handle owner = open_group(group);
    const Handle attribute(H5Acreate2(owner, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    check(attribute.valid() && (!data || H5Awrite(attribute, type, data) >= 0), name.c_str());
  }

  void write_texts(const std::string& group, const std::string& name, const std::string* first, size_t count,
                   size_t width) const {
    std::vector<char> buffer(count * width, '\0');
    for (size_t i = 0; i < count; ++i) std::memcpy(buffer.data() + i * width, first[i].data(), first[i].size());
    const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(type, width);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    const hsize_t extent = count;
    const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
    write_attribute(group, name, type, space, buffer.data());
  }
};

Hdf5Writer::Hdf5Writer() : impl_(std::make_unique<Impl>()) {}
Hdf5Writer::~Hdf5Writer() = default;

void Hdf5Writer::group(const std::string& path) { impl_->make_groups(path); }

void Hdf5Writer::text(const std::string& group, const std::string& attribute, std::string_view value) {
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const std::string terminated(value);
  const char* pointer = terminated.c_str();
  impl_->write_attribute(group, attribute, type, space, &pointer);
}

void Hdf5Writer::texts(const std::string& group, const std::string& attribute, const std::vector<std::string>& values) {
  if (values.empty()) {
    const hsize_t none = 0;
    const Handle space(H5Screate_simple(1, &none, nullptr), H5Sclose);
    impl_->write_attribute(group, attribute, H5T_IEEE_F64LE, space, nullptr);
    return;
  }
  size_t width = 1;
  for (const std::string& value : values) width = std::max(width, value.size());
  if (width > kLargestAttribute) {
    throw InvalidArgument("[keras] a name of {} bytes is too long for an HDF5 file; the limit is {}.", width,
                          kLargestAttribute);
  }
  if (width * values.size() <= kLargestAttribute) {
    impl_->write_texts(group, attribute, values.data(), values.size(), width);
    return;
  }
  const size_t per_part = kLargestAttribute / width;
  for (size_t start = 0, part = 0; start < values.size(); start += per_part, ++part) {
    const size_t count = std::min(per_part, values.size() - start);
    impl_->write_texts(group, fmt::format("{}{}", attribute, part), values.data() + start, count, width);
  }
}

void Hdf5Writer::tensor(const std::string& path, const Tensor& value) {
  const size_t name = path.rfind('/');
  if (name != std::string::npos && name > 0) impl_->make_groups(path.substr(0, name));
  std::vector<hsize_t> extents(value.shape().begin(), value.shape().end());
  const Handle space(extents.empty() ? H5Screate(H5S_SCALAR)
                                     : H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr),
                     H5Sclose);
  const Handle dataset(
      H5Dcreate2(impl_->file, path.c_str(), H5T_IEEE_F32LE, space, H5P_DEFAULT, impl_->data_create, H5P_DEFAULT),
      H5Dclose);
  check(dataset.valid(), path.c_str());
  if (value.size() == 0) return;
  check(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, value.data().data()) >= 0, path.c_str());
}

std::string Hdf5Writer::finish() {
  check(H5Fflush(impl_->file, H5F_SCOPE_GLOBAL) >= 0, "the file");
  const ssize_t size = H5Fget_file_image(impl_->file, nullptr, 0);
  check(size >= 0, "the file's image");
  std::string bytes(static_cast<size_t>(size), '\0');
  check(H5Fget_file_image(impl_->file, bytes.data(), bytes.size()) == size, "the file's image");
  impl_->file = Handle();
  return bytes;
}

}  // namespace nibble::formats::keras
