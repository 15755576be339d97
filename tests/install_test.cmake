# Installs nibble into an empty folder, and uses it from there as another project would:
#   cmake -DBUILD=<build folder> -DSOURCE=<repository> -DSCRATCH=<folder> -DCOMPILER=<c++> -P install_test.cmake
cmake_policy(VERSION 3.25)
set(prefix ${SCRATCH}/prefix)
file(REMOVE_RECURSE ${SCRATCH})
file(MAKE_DIRECTORY ${SCRATCH}/elsewhere)

# Runs a command; its output is in `output`.
function(run what)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY ${SCRATCH}/elsewhere
    RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${what} failed (${code}):\n${text}")
  endif()
  set(output "${text}" PARENT_SCOPE)
endfunction()

function(expect text part)
  if(NOT text MATCHES "${part}")
    message(FATAL_ERROR "no '${part}' in:\n${text}")
  endif()
endfunction()

function(build_against_installed name source)
  run("configuring ${name}" ${CMAKE_COMMAND} -S ${source} -B ${SCRATCH}/${name} -G Ninja
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=Release)
  run("building ${name}" ${CMAKE_COMMAND} --build ${SCRATCH}/${name})
endfunction()

run("installing" ${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})

# What was installed stands alone: the build may be deleted.
file(GLOB package_files ${prefix}/lib*/cmake/nibble/*.cmake ${prefix}/lib/*/cmake/nibble/*.cmake)
if(NOT package_files)
  message(FATAL_ERROR "no package files in ${prefix}")
endif()
foreach(file ${package_files})
  file(READ ${file} text)
  foreach(folder ${BUILD} ${SOURCE} ${prefix})
    string(FIND "${text}" "${folder}/" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${file} names ${folder}")
    endif()
  endforeach()
endforeach()

run("the installed program" ${prefix}/bin/nibble version)
expect("${output}" "nibble [0-9]")
run("the installed program" ${prefix}/bin/nibble energy mnist --reference fp32 --json)
expect("${output}" "\"total_energy_pj\": 3295370")

build_against_installed(use_nibble ${SOURCE}/examples/use_nibble)
run("the example" ${SCRATCH}/use_nibble/use_nibble)
expect("${output}" "QConv2D")
expect("${output}" "nJ quantized")
expect("${output}" "dense kernel: 15680 integer codes")
if(NOT EXISTS ${SCRATCH}/elsewhere/digits.keras)
  message(FATAL_ERROR "the example left no digits.keras")
endif()
run("the example's model" ${prefix}/bin/nibble inspect digits.keras)

# No installed header needs one that is not.
file(GLOB_RECURSE headers RELATIVE ${prefix}/include ${prefix}/include/nibble/*.h)
list(LENGTH headers count)
if(count LESS 50)
  message(FATAL_ERROR "only ${count} headers were installed")
endif()
list(TRANSFORM headers REPLACE "(.+)" "#include \"\\1\"\n" OUTPUT_VARIABLE includes)
list(JOIN includes "" includes)
file(WRITE ${SCRATCH}/headers/headers.cc "${includes}")
file(WRITE ${SCRATCH}/headers/CMakeLists.txt "
cmake_minimum_required(VERSION 3.25)
project(headers LANGUAGES CXX)
find_package(nibble REQUIRED)
add_library(headers OBJECT headers.cc)
target_link_libraries(headers PRIVATE nibble::autoq nibble::cost nibble::kernels nibble::report)
")
build_against_installed(headers_build ${SCRATCH}/headers)
message(STATUS "installed, used, ${count} headers")
file(REMOVE_RECURSE ${SCRATCH})
