# Writes the header with the commit that is being built; run by every build (nibble/search/CMakeLists.txt).
#
#   cmake -DGIT=git -DSOURCE=repository -DOUTPUT=build_commit.h -P BuildCommit.cmake
#
# A commit that is the same leaves the file as it is, so that nothing is compiled anew. Whatever keeps git from
# answering (there is none, an archive without .git, a repository of another owner) leaves the commit empty.
cmake_policy(VERSION 3.25)
set(commit "")
# Without optional locks, a build never stands in the way of a commit made at the same time.
set(ask ${GIT} --no-optional-locks -C ${SOURCE})
if(GIT)
  execute_process(COMMAND ${ask} rev-parse --show-toplevel --verify --short=12 HEAD
    RESULT_VARIABLE failed OUTPUT_VARIABLE answer ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  file(REAL_PATH ${SOURCE} source)
  # An archive may lie inside of somebody else's repository, whose commits say nothing of it.
  if(NOT failed AND answer MATCHES "^(.+)\n([0-9a-f]+)$" AND CMAKE_MATCH_1 STREQUAL source)
    set(commit ${CMAKE_MATCH_2})
    # What the program is made of; documents and tests may differ.
    execute_process(COMMAND ${ask} status --porcelain --untracked-files=no --
      nibble web cmake CMakeLists.txt ":(exclude)*_test.cc" ":(exclude)*.md"
      RESULT_VARIABLE failed OUTPUT_VARIABLE changes ERROR_QUIET)
    if(failed OR changes)
      string(APPEND commit "+changes")
    endif()
  endif()
endif()

file(CONFIGURE OUTPUT ${OUTPUT} NEWLINE_STYLE UNIX CONTENT
"// Written by cmake/BuildCommit.cmake.
#pragma once

namespace nibble::search {
constexpr const char* kBuildCommit = \"@commit@\";
}
" @ONLY)
