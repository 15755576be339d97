#include "nibble/data/npz.h"

#include <zip.h>

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/data/input_stream.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

// Deflate cannot expand more than 1032 times.
constexpr uint64_t kDeflateRatio = 1032;
constexpr std::string_view kEnding = ".npy";

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
template <class T>
using Owned = std::unique_ptr<T, Discard>;

std::string text_of(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

Owned<zip_t> open_archive(const fs::path& path) {
  std::error_code ignored;
  const auto status = fs::status(path, ignored);
  if (!fs::exists(status)) throw IoError("[read_npz] {} does not exist.", path.string());
  if (!fs::is_regular_file(status)) throw IoError("[read_npz] {} is not a file.", path.string());
  int code = 0;
  Owned<zip_t> archive(zip_open(path.c_str(), ZIP_RDONLY, &code));
  if (archive) return archive;
  if (code == ZIP_ER_OPEN || code == ZIP_ER_READ) {
    throw IoError("[read_npz] cannot read {}: {}.", path.string(), text_of(code));
  }
  throw CorruptFile("[read_npz] {}: the zip archive cannot be read ({}); it may be cut off or damaged.", path.string(),
                    text_of(code));
}

void check_member(const zip_stat_t& stat, const std::string& place) {
  constexpr zip_uint64_t kNeeded =
      ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
  if ((stat.valid & kNeeded) != kNeeded) throw CorruptFile("[read_npz] {} has no size.", place);
  if (stat.encryption_method != ZIP_EM_NONE) throw Unsupported("[read_npz] {} is encrypted; it cannot be read.", place);
  const bool is_stored = stat.comp_method == ZIP_CM_STORE;
  if (!is_stored && stat.comp_method != ZIP_CM_DEFLATE) {
    throw Unsupported(
        "[read_npz] {} is compressed by method {}; stored and deflated members are read, as numpy.savez and "
        "numpy.savez_compressed write them.",
        place, stat.comp_method);
  }
  if (stat.size > NpzFile::kLargestArray) {
    throw Unsupported("[read_npz] {} takes {} bytes; at most {} are read out of an archive. Save it with numpy.save.",
                      place, stat.size, NpzFile::kLargestArray);
  }
  // Cut first, so that the product does not overflow.
  const uint64_t packed = std::min(stat.comp_size, NpzFile::kLargestArray + 1);
  if (stat.size > (is_stored ? packed : packed * kDeflateRatio)) {
    throw CorruptFile("[read_npz] {} claims {} bytes out of {}, which no compression gives.", place, stat.size,
                      stat.comp_size);
  }
}

// The bytes of one member.
class MemberSource : public ByteSource {
 public:
  MemberSource(zip_t* archive, zip_uint64_t index, std::string place) : place_(std::move(place)) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_stat_index(archive, index, 0, &stat) != 0) {
      throw CorruptFile("[read_npz] {} cannot be read ({}).", place_, zip_strerror(archive));
    }
    check_member(stat, place_);
    size_ = stat.size;
    file_.reset(zip_fopen_index(archive, index, 0));
    if (!file_) throw CorruptFile("[read_npz] {} cannot be read ({}).", place_, zip_strerror(archive));
  }

  size_t read(std::span<uint8_t> out) override {
    size_t got = 0;
    while (got < out.size()) {
      const zip_int64_t n = zip_fread(file_.get(), out.data() + got, out.size() - got);
      // The sum is compared when the end is met.
      if (n < 0) {
        throw CorruptFile("[read_npz] {} is damaged ({}). Fetch the file again.", place_,
                          zip_file_strerror(file_.get()));
      }
      if (n == 0) break;
      got += static_cast<size_t>(n);
    }
    read_ += got;
    if (read_ > size_) {
      throw CorruptFile("[read_npz] {} holds more than the {} bytes that it claims. Fetch the file again.", place_,
                        size_);
    }
    return got;
  }
  uint64_t size_bound() const override { return size_; }

 private:
  std::string place_;
  uint64_t size_ = 0, read_ = 0;
  Owned<zip_file_t> file_;
};

}  // namespace

struct NpzFile::Impl {
  Owned<zip_t> archive;
  std::string name;
};

NpzFile::NpzFile(const fs::path& path) : impl_(std::make_unique<Impl>(Impl{open_archive(path), path.string()})) {}

NpzFile::~NpzFile() = default;
NpzFile::NpzFile(NpzFile&&) noexcept = default;

std::vector<std::string> NpzFile::names() const {
  std::vector<std::string> names;
  const zip_int64_t count = zip_get_num_entries(impl_->archive.get(), 0);
  for (zip_int64_t k = 0; k < count; ++k) {
    const char* raw = zip_get_name(impl_->archive.get(), static_cast<zip_uint64_t>(k), 0);
    std::string_view name = raw == nullptr ? "" : raw;
    if (!name.ends_with(kEnding)) continue;
    name.remove_suffix(kEnding.size());
    names.emplace_back(name);
  }
  return names;
}

bool NpzFile::contains(const std::string& array) const {
  return zip_name_locate(impl_->archive.get(), (array + std::string(kEnding)).c_str(), 0) >= 0;
}

NpyArray NpzFile::read(const std::string& array) const {
  const zip_int64_t index = zip_name_locate(impl_->archive.get(), (array + std::string(kEnding)).c_str(), 0);
  if (index < 0) throw CorruptFile("[read_npz] {} is not there.", place(array));
  InputStream in(std::make_unique<MemberSource>(impl_->archive.get(), static_cast<zip_uint64_t>(index), place(array)),
                 place(array));
  return read_npy_array(in);
}

std::string NpzFile::place(const std::string& array) const {
  return fmt::format("{}: {}{}", impl_->name, array, kEnding);
}

}  // namespace nibble::data
