# Third-party libraries, all from the system (docs/dependencies.md gives the reason of each).
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(CLI11 REQUIRED)
find_package(Threads REQUIRED)
find_package(SQLite3 REQUIRED)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET libzip)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
pkg_check_modules(HDF5 REQUIRED IMPORTED_TARGET hdf5-serial)

# Debian's SOCI has no CMake package.
find_library(NIBBLE_SOCI_CORE soci_core REQUIRED)
find_library(NIBBLE_SOCI_SQLITE3 soci_sqlite3 REQUIRED)
find_library(NIBBLE_SOCI_POSTGRESQL soci_postgresql REQUIRED)
find_package(PostgreSQL REQUIRED)  # libpq's header, which SOCI's includes
add_library(nibble_soci INTERFACE)
target_link_libraries(nibble_soci INTERFACE ${NIBBLE_SOCI_SQLITE3} ${NIBBLE_SOCI_POSTGRESQL} ${NIBBLE_SOCI_CORE}
                      SQLite::SQLite3 PostgreSQL::PostgreSQL)

if(NIBBLE_BUILD_TRAIN)
  find_package(Torch REQUIRED)
  # dnnl's CMake package asks for OpenCL, which the CPU engine does not need.
  find_library(NIBBLE_DNNL dnnl REQUIRED)
  # TensorBoard's event files; the lite library has no registry of messages that could meet torch's.
  pkg_check_modules(PROTOBUF_LITE REQUIRED IMPORTED_TARGET protobuf-lite)
  find_program(NIBBLE_PROTOC protoc REQUIRED)
endif()
if(NIBBLE_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(NIBBLE_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()
