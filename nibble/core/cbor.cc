#include "nibble/core/cbor.h"

#include "nibble/core/error.h"

namespace nibble {
namespace {

using nlohmann::json;

constexpr int kDeepest = 64;

// Goes through a document without keeping anything of it, and stops where it is too deep.
class DepthCheck {
 public:
  bool is_too_deep() const { return is_too_deep_; }

  bool null() { return true; }
  bool boolean(bool) { return true; }
  bool number_integer(json::number_integer_t) { return true; }
  bool number_unsigned(json::number_unsigned_t) { return true; }
  bool number_float(json::number_float_t, const json::string_t&) { return true; }
  bool string(json::string_t&) { return true; }
  bool binary(json::binary_t&) { return true; }
  bool key(json::string_t&) { return true; }
  bool start_object(std::size_t) { return enter(); }
  bool end_object() { return leave(); }
  bool start_array(std::size_t) { return enter(); }
  bool end_array() { return leave(); }
  bool parse_error(std::size_t, const std::string&, const json::exception&) { return false; }

 private:
  bool enter() {
    is_too_deep_ = ++depth_ > kDeepest;
    return !is_too_deep_;
  }
  bool leave() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  bool is_too_deep_ = false;
};

}  // namespace

json read_cbor(std::string_view bytes) {
  DepthCheck check;
  json::sax_parse(bytes, &check, json::input_format_t::cbor);
  if (check.is_too_deep()) throw CorruptFile("its content is nested more than {} deep", kDeepest);
  return json::from_cbor(bytes);
}

}  // namespace nibble
