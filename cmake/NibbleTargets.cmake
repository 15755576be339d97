# How a folder of nibble declares its targets.
#
#   nibble_add_library(quant
#     HEADERS quantizer.h ...        # installed, with their paths kept
#     SOURCES quantizer.cc ...
#     DEPS nibble::core              # public: the layering of docs/architecture.md
#     PRIVATE_DEPS ZLIB::ZLIB)       # used in sources only
#   nibble_add_test(quantizer_test DEPS nibble::quant [LABELS golden] [SOURCES more_test.cc])
#   nibble_add_bench(dot_bench DEPS nibble::kernels)
include(GNUInstallDirs)

set(NIBBLE_SANITIZE "" CACHE STRING "Sanitizers to build with, e.g. address,undefined")

add_library(nibble_options INTERFACE)
target_compile_features(nibble_options INTERFACE cxx_std_20)
target_compile_options(nibble_options INTERFACE
  -Wall -Wextra -Wno-unused-parameter
  # The scalar code is the definition of every quantizer: a product and a sum
  # must round twice on every machine, whether it has a fused multiply-add or not.
  -ffp-contract=off)
if(NIBBLE_SANITIZE)
  target_compile_options(nibble_options INTERFACE
    -fsanitize=${NIBBLE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1
    # Compares the type of an object with its class; SOCI's library keeps the names of its types to itself.
    -fno-sanitize=vptr)
  target_link_options(nibble_options INTERFACE -fsanitize=${NIBBLE_SANITIZE})
endif()

find_program(NIBBLE_CCACHE ccache)
if(NIBBLE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${NIBBLE_CCACHE})
endif()

function(nibble_add_library name)
  cmake_parse_arguments(arg "" "" "HEADERS;SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(nibble_${name} STATIC ${arg_SOURCES})
  add_library(nibble::${name} ALIAS nibble_${name})
  set_target_properties(nibble_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_sources(nibble_${name} PUBLIC FILE_SET HEADERS
                 BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${arg_HEADERS})
  target_compile_features(nibble_${name} PUBLIC cxx_std_20)
  target_link_libraries(nibble_${name} PUBLIC ${arg_DEPS}
                        PRIVATE ${arg_PRIVATE_DEPS} $<BUILD_INTERFACE:nibble_options>)
  set_property(GLOBAL APPEND PROPERTY NIBBLE_LIBRARIES nibble_${name})
endfunction()

function(nibble_add_test name)
  if(NOT NIBBLE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "TIMEOUT" "DEPS;LABELS;SOURCES" ${ARGN})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  # For tests that hang. Where other programs have the machine, one that takes seconds may take minutes.
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 1200)
  endif()
  if(NIBBLE_SANITIZE)  # up to ten times slower
    math(EXPR arg_TIMEOUT "10 * ${arg_TIMEOUT}")
  endif()
  add_executable(${name} ${name}.cc ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} nibble_options nibble_testing GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
endfunction()

function(nibble_add_bench name)
  if(NOT NIBBLE_BUILD_BENCH)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "DEPS;SOURCES" ${ARGN})
  add_executable(${name} ${name}.cc ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} nibble_options benchmark::benchmark)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)
endfunction()
