// nibble/program/operation_check.h
// One operation of a program against what comes before it. Private to program/: validate() checks all of them.
#pragma once

#include <cstddef>

#include "nibble/program/program.h"

namespace nibble::program {

// What operation `index` reads was checked before.
//   throws  CorruptFile with the operation if its inputs, shapes, intervals or numbers do not fit together
void check_operation(const Program& program, size_t index);

}  // namespace nibble::program
