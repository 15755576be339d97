// nibble/transform/compatibility.h
// Whose rules a transformation follows where the reference misbehaves.
#pragma once

namespace nibble::transform {

//   kNibble  the sane rule; docs/differences.md lists every deliberate difference
//   kQkeras  the reference's own result, for comparing with published numbers
enum class Compatibility { kNibble, kQkeras };

}  // namespace nibble::transform
