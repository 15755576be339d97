#include "nibble/core/call_expression.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>

#include "nibble/core/error.h"

namespace nibble {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_name_char(char c) { return is_name_start(c) || is_digit(c); }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Python allows single underscores between digits: 1_000.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
    } else if (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1])) {
      return std::nullopt;
    }
  }
  return digits;
}

std::optional<int64_t> to_integer(std::string_view text) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> to_float(std::string_view text) {
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
    if (!text.empty() && text.front() == '-') return std::nullopt;
  }
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || end != text.data() + text.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {  // from_chars leaves value alone; 1e999 is inf, 1e-999 is 0
    return std::strtod(std::string(text).c_str(), nullptr);
  }
  if (error != std::errc()) return std::nullopt;
  return value;
}

// A number as Python's int() or float() reads it, or nothing.
std::optional<CallValue> to_number(std::string_view text) {
  const auto plain = without_underscores(text);
  if (!plain || plain->find_first_of("(xX") != std::string::npos) return std::nullopt;
  if (const auto integer = to_integer(*plain)) return CallValue(*integer);
  if (const auto real = to_float(*plain)) return CallValue(*real);
  return std::nullopt;
}

double as_double(const CallValue& number) {
  if (const auto* integer = std::get_if<int64_t>(&number)) return static_cast<double>(*integer);
  return std::get<double>(number);
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  CallExpression expression() {
    CallExpression call;
    // The name is not trimmed: QKeras takes " binary" for an unknown name, and so does nibble.
    const size_t start = position_;
    while (position_ < text_.size() && is_name_char(text_[position_])) ++position_;
    if (position_ == start || is_digit(text_[start])) fail(start, "a name such as quantized_bits");
    call.name = std::string(text_.substr(start, position_ - start));
    if (position_ < text_.size()) arguments(call);
    return call;
  }

  void arguments(CallExpression& call) {
    if (peek() != '(') fail(position_, "'(' or the end of the text");
    ++position_;
    call.has_parentheses = true;
    skip_blanks();
    if (peek() == ')') {
      ++position_;
    } else {
      do argument(call);
      while (separator());
    }
    skip_blanks();
    if (position_ != text_.size()) fail(position_, "the end of the text after ')'");
  }

 private:
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  void skip_blanks() {
    while (is_blank(peek())) ++position_;
  }

  // After a value: true at ",", false at ")".
  bool separator() {
    skip_blanks();
    if (peek() != ',' && peek() != ')') fail(position_, "',' or ')'");
    return text_[position_++] == ',';
  }

  void argument(CallExpression& call) {
    skip_blanks();
    const size_t start = position_;
    const std::string name = keyword_name();
    if (name.empty()) {
      if (!call.keyword.empty()) fail(start, "name=value, since a value without a name cannot follow a named one");
      call.positional.push_back(value(/*is_keyword=*/false));
      return;
    }
    CallValue named = value(/*is_keyword=*/true);
    // As in the reference, the last of two values for a name wins.
    const auto same = [&](const auto& entry) { return entry.first == name; };
    const auto known = std::find_if(call.keyword.begin(), call.keyword.end(), same);
    if (known != call.keyword.end()) {
      known->second = std::move(named);
    } else {
      call.keyword.emplace_back(name, std::move(named));
    }
  }

  // Consumes "name =" if it is there.
  std::string keyword_name() {
    if (!is_name_start(peek())) return "";
    size_t end = position_;
    while (end < text_.size() && is_name_char(text_[end])) ++end;
    const std::string name(text_.substr(position_, end - position_));
    while (end < text_.size() && is_blank(text_[end])) ++end;
    if (end >= text_.size() || text_[end] != '=') return "";
    position_ = end + 1;
    return name;
  }

  CallValue value(bool is_keyword) {
    skip_blanks();
    const char first = peek();
    if (first == '\'' || first == '"') return quoted(first);
    if (first == '[') return bracketed_list();
    const size_t start = position_;
    while (position_ < text_.size() && peek() != ',' && peek() != ')') ++position_;
    const std::string_view word = trim(text_.substr(start, position_ - start));
    if (position_ >= text_.size()) fail(position_, "')'");
    if (word.empty()) fail(start, "a value");
    if (word == "True") return true;
    if (word == "False") return false;
    if (word == "None") return NoneValue{};
    if (const auto number = to_number(word)) return *number;
    // The reference reads  scale_axis=1 2  as a list, but only behind a name.
    if (is_keyword && std::any_of(word.begin(), word.end(), is_blank)) return list_items(word, start);
    fail(start,
         fmt::format("a number, True, False, None, a [list] or a quoted text; if you mean the text, write '{}'", word));
  }

  CallValue quoted(char quote) {
    const size_t start = ++position_;
    const size_t end = text_.find(quote, start);
    if (end == std::string_view::npos) fail(start - 1, fmt::format("a closing {}", quote));
    position_ = end + 1;
    return std::string(text_.substr(start, end - start));
  }

  CallValue bracketed_list() {
    const size_t start = ++position_;
    const size_t end = text_.find(']', start);
    if (end == std::string_view::npos) fail(start - 1, "a closing ]");
    position_ = end + 1;
    return list_items(text_.substr(start, end - start), start);
  }

  // Numbers separated by blanks, or by one comma each.
  CallValue list_items(std::string_view items, size_t column) const {
    std::vector<double> numbers;
    bool expects_item = false;  // after a comma
    for (size_t i = 0; i < items.size();) {
      if (is_blank(items[i])) {
        ++i;
      } else if (items[i] == ',') {
        if (numbers.empty() || expects_item) fail(column + i, "a number before ','");
        expects_item = true;
        ++i;
      } else {
        const size_t start = i;
        while (i < items.size() && !is_blank(items[i]) && items[i] != ',') ++i;
        const auto number = to_number(items.substr(start, i - start));
        if (!number) fail(column + start, "a number");
        numbers.push_back(as_double(*number));
        expects_item = false;
      }
    }
    if (expects_item) fail(column + items.size(), "a number after ','");
    return numbers;
  }

  [[noreturn]] void fail(size_t position, const std::string& expected) const {
    const std::string_view rest = text_.substr(std::min(position, text_.size()));
    const std::string found = rest.empty() ? "the end of the text" : fmt::format("'{}'", rest.substr(0, 20));
    throw InvalidArgument("[parse] '{}', column {}: expected {}, found {}.", text_, position + 1, expected, found);
  }

  std::string_view text_;
  size_t position_ = 0;
};

std::string format_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);  // shortest digits that read back
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string format_list(const std::vector<double>& items) {
  std::string text = "[";
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += ' ';
    const bool is_whole = items[i] == std::floor(items[i]) && std::abs(items[i]) < 0x1p53;
    text += is_whole ? fmt::format("{}", static_cast<int64_t>(items[i])) : format_real(items[i]);
  }
  return text + "]";
}

}  // namespace

CallExpression parse_call(std::string_view text) { return Parser(text).expression(); }

CallExpression parse_arguments(std::string_view text) {
  CallExpression call;
  Parser(text).arguments(call);
  return call;
}

std::string format_value(const CallValue& value) {
  struct Formatter {
    std::string operator()(NoneValue) const { return "None"; }
    std::string operator()(bool flag) const { return flag ? "True" : "False"; }
    std::string operator()(int64_t integer) const { return fmt::format("{}", integer); }
    std::string operator()(double real) const { return format_real(real); }
    std::string operator()(const std::string& text) const {
      const char quote = text.find('\'') == std::string::npos ? '\'' : '"';
      return quote + text + quote;
    }
    std::string operator()(const std::vector<double>& items) const { return format_list(items); }
  };
  return std::visit(Formatter{}, value);
}

}  // namespace nibble
