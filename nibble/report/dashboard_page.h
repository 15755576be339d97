// nibble/report/dashboard_page.h
// The dashboard's page, embedded when nibble is built (embed_page.cmake).
#pragma once

#include <string_view>

namespace nibble::report {

std::string_view dashboard_page();

}  // namespace nibble::report
