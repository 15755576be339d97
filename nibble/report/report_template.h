// nibble/report/report_template.h
// The page without data, embedded when nibble is built (embed_page.cmake).
#pragma once

#include <string_view>

namespace nibble::report {

// UTF-8 HTML that holds kPayloadMarker exactly once, where the JSON goes.
std::string_view report_template();

inline constexpr std::string_view kPayloadMarker = "NIBBLE_REPORT_PAYLOAD";

}  // namespace nibble::report
