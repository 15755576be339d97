#include "nibble/formats/keras/hdf5_direct.h"

#include <algorithm>
#include <cstring>

namespace nibble::formats::keras {
namespace {

constexpr uint64_t kLargestChunk = uint64_t{1} << 30;
constexpr int kLargestRank = 32;

// A hostile file could name any other file of this machine.
herr_t refuse_link(const char*, const char*, const char*, const char*, unsigned*, hid_t, void*) { return -1; }

Handle access_list(hid_t kind) {
  Handle list(H5Pcreate(kind), H5Pclose);
  H5Pset_elink_cb(list, refuse_link, nullptr);
  return list;
}

bool is_known_filter(H5Z_filter_t filter) {
  constexpr H5Z_filter_t kKnown[] = {H5Z_FILTER_DEFLATE, H5Z_FILTER_SHUFFLE,     H5Z_FILTER_FLETCHER32,
                                     H5Z_FILTER_NBIT,    H5Z_FILTER_SCALEOFFSET, H5Z_FILTER_SZIP};
  return std::find(std::begin(kKnown), std::end(kKnown), filter) != std::end(kKnown);
}

}  // namespace

Hdf5Direct::Hdf5Direct(const std::string& bytes, std::string name)
    : bytes_(bytes),
      name_(std::move(name)),
      group_access_(access_list(H5P_GROUP_ACCESS)),
      data_access_(access_list(H5P_DATASET_ACCESS)) {}

void Hdf5Direct::open() {
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access, 1 << 20, false);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  // HDF5 copies the image; it asks for a pointer to what it could change, but does not.
  if (H5Pset_file_image(access, const_cast<char*>(bytes_.data()), bytes_.size()) < 0) {
    corrupt("HDF5 cannot take its {} bytes.", bytes_.size());
  }
  file_ = Handle(H5Fopen("in-memory", H5F_ACC_RDONLY, access), H5Fclose);
  if (!file_.valid()) corrupt("it is no readable HDF5 file; it may be cut off or damaged.");
}

Handle Hdf5Direct::open_group(const std::string& path) const {
  return Handle(H5Gopen2(file_, path.c_str(), group_access_), H5Gclose);
}

Handle Hdf5Direct::open_dataset(const std::string& path) const {
  return Handle(H5Dopen2(file_, path.c_str(), data_access_), H5Dclose);
}

// Texts of an existing attribute.
std::vector<std::string> Hdf5Direct::read_texts(hid_t group, const std::string& attribute) const {
  const Handle handle(H5Aopen(group, attribute.c_str(), H5P_DEFAULT), H5Aclose);
  const Handle space(H5Aget_space(handle), H5Sclose);
  const hssize_t count = H5Sget_simple_extent_npoints(space);
  if (!handle.valid() || count < 0) corrupt("attribute '{}' cannot be read.", attribute);
  if (count == 0) return {};  // before asking for a type: an empty list has float64's
  const Handle type(H5Aget_type(handle), H5Tclose);
  if (H5Tget_class(type) != H5T_STRING) corrupt("attribute '{}' must hold texts.", attribute);
  const auto texts = static_cast<uint64_t>(count);
  if (texts > bytes_.size())
    corrupt("attribute '{}' claims {} texts in a file of {} bytes.", attribute, texts, bytes_.size());
  return H5Tis_variable_str(type) > 0 ? read_variable(handle, space, texts, attribute)
                                      : read_fixed(handle, type, texts, attribute);
}

std::vector<std::string> Hdf5Direct::read_fixed(hid_t attribute, hid_t type, uint64_t count,
                                                const std::string& label) const {
  const uint64_t size = H5Tget_size(type);
  if (size == 0 || size > bytes_.size() / count) {
    corrupt("attribute '{}' claims {} texts of {} bytes in a file of {} bytes.", label, count, size, bytes_.size());
  }
  std::vector<char> buffer(size * count);
  const Handle memory(H5Tcopy(type), H5Tclose);
  if (H5Aread(attribute, memory, buffer.data()) < 0) corrupt("attribute '{}' cannot be read.", label);
  std::vector<std::string> result;
  for (uint64_t i = 0; i < count; ++i) {
    const char* start = buffer.data() + i * size;
    result.emplace_back(start, strnlen(start, size));
  }
  return result;
}

std::vector<std::string> Hdf5Direct::read_variable(hid_t attribute, hid_t space, uint64_t count,
                                                   const std::string& label) const {
  std::vector<char*> pointers(count, nullptr);
  const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(memory, H5T_VARIABLE);
  const Handle stored(H5Aget_type(attribute), H5Tclose);
  H5Tset_cset(memory, H5Tget_cset(stored));
  const bool read = H5Aread(attribute, memory, pointers.data()) >= 0;
  // Many texts may be one place of the file: only the process's limit bounds what H5Aread takes, and this what goes on.
  uint64_t length = 0;
  for (const char* text : pointers) length += text ? std::strlen(text) + 1 : 1;
  std::vector<std::string> result;
  if (read && length <= bytes_.size()) {
    for (const char* text : pointers) result.emplace_back(text ? text : "");
  }
  H5Dvlen_reclaim(memory, space, H5P_DEFAULT, pointers.data());
  if (!read) corrupt("attribute '{}' cannot be read.", label);
  if (length > bytes_.size()) {
    corrupt("attribute '{}' claims texts of {} bytes in a file of {} bytes.", label, length, bytes_.size());
  }
  return result;
}

std::optional<std::string> Hdf5Direct::text(const std::string& group, const std::string& attribute) const {
  const Handle handle = open_group(group);
  if (!handle.valid() || H5Aexists(handle, attribute.c_str()) <= 0) return std::nullopt;
  std::vector<std::string> texts = read_texts(handle, attribute);
  if (texts.size() != 1) corrupt("attribute '{}' holds {} texts, but must hold one.", attribute, texts.size());
  return std::move(texts.front());
}

std::optional<std::vector<std::string>> Hdf5Direct::texts(const std::string& group,
                                                          const std::string& attribute) const {
  const Handle handle = open_group(group);
  if (!handle.valid()) return std::nullopt;
  if (H5Aexists(handle, attribute.c_str()) > 0) return read_texts(handle, attribute);
  std::vector<std::string> all;
  uint64_t length = 0;
  int part = 0;
  for (;; ++part) {
    const std::string name = fmt::format("{}{}", attribute, part);
    if (H5Aexists(handle, name.c_str()) <= 0) break;
    for (std::string& text : read_texts(handle, name)) {
      length += text.size() + 1;
      all.push_back(std::move(text));
    }
    if (length > bytes_.size()) {
      corrupt("the parts of attribute '{}' claim more texts than a file of {} bytes holds.", attribute, bytes_.size());
    }
  }
  return part == 0 ? std::nullopt : std::optional(std::move(all));
}

void Hdf5Direct::check_chunks(hid_t plist, uint64_t element_size, const std::string& path) const {
  hsize_t extents[kLargestRank];
  const int rank = H5Pget_chunk(plist, kLargestRank, extents);
  uint64_t size = element_size;
  for (int i = 0; i < rank; ++i) {
    if (extents[i] == 0 || extents[i] > kLargestChunk / size)
      corrupt("'{}' has chunks above {} bytes.", path, kLargestChunk);
    size *= extents[i];
  }
  if (rank <= 0) corrupt("'{}' has chunks that cannot be read.", path);
  const int filters = H5Pget_nfilters(plist);
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0, config = 0;
    size_t values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(plist, static_cast<unsigned>(i), &flags, &values, nullptr, 0, nullptr, &config);
    // Anything else would be looked for among plug-ins, which are programs.
    if (!is_known_filter(filter))
      throw Unsupported("[keras] {}: '{}' is compressed by the unknown filter {}.", name_, path, filter);
  }
}

// The numbers must be in this file, and no more of them than its bytes can hold.
void Hdf5Direct::check_storage(hid_t dataset, uint64_t elements, uint64_t element_size, const std::string& path) const {
  const Handle plist(H5Dget_create_plist(dataset), H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(plist);
  if (layout == H5D_VIRTUAL || (layout == H5D_CONTIGUOUS && H5Pget_external_count(plist) != 0)) {
    throw Unsupported("[keras] {}: '{}' is stored in other files; nibble reads data inside the file only.", name_,
                      path);
  }
  if (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT && layout != H5D_CHUNKED) {
    corrupt("'{}' has an unknown storage layout.", path);
  }
  const uint64_t expansion = layout == H5D_CHUNKED ? kLargestExpansion : 1;
  if (layout == H5D_CHUNKED) check_chunks(plist, element_size, path);
  const uint64_t stored = H5Dget_storage_size(dataset);
  if (stored > bytes_.size() || elements > stored * expansion / element_size) {
    corrupt("'{}' claims {} numbers, but only {} bytes are stored; the file may be cut off or damaged.", path, elements,
            stored);
  }
}

void Hdf5Direct::check_shape(hid_t dataset, const std::string& path, const Shape& expected) const {
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0 || rank > kLargestRank) corrupt("'{}' has no readable shape.", path);
  hsize_t extents[kLargestRank];
  H5Sget_simple_extent_dims(space, extents, nullptr);
  std::vector<int64_t> found;
  for (int i = 0; i < rank; ++i) found.push_back(static_cast<int64_t>(std::min<hsize_t>(extents[i], INT64_MAX)));
  if (Shape(found) == expected) return;
  throw InvalidArgument("[keras] {}: '{}' has the shape {}, but must have {}.", name_, path, Shape(found).str(),
                        expected.str());
}

Tensor Hdf5Direct::tensor(const std::string& path, const Shape& expected) const {
  const Handle dataset = open_dataset(path);
  if (!dataset.valid()) corrupt("there is no data set '{}', or it cannot be read.", path);
  check_shape(dataset, path, expected);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  const H5T_class_t kind = H5Tget_class(type);
  const size_t element_size = H5Tget_size(type);
  if ((kind != H5T_FLOAT && kind != H5T_INTEGER) || element_size == 0 || element_size > 16) {
    corrupt("'{}' does not hold numbers.", path);
  }
  const auto elements = static_cast<uint64_t>(expected.elements());
  check_storage(dataset, elements, element_size, path);
  Tensor result(expected);
  if (elements > 0 && H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, result.data().data()) < 0) {
    corrupt("the numbers of '{}' cannot be read; the file may be cut off or damaged.", path);
  }
  return result;
}

}  // namespace nibble::formats::keras
