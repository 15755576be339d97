// nibble/cost/compat.h
// Which numbers a cost model gives where the reference has a defect.
#pragma once

namespace nibble::cost {

// kNone        the sane behaviour; differences are listed in docs/differences.md
// kQkeras      QTools of QKeras 0.9.x, defects included (spec/qtools.md); where it crashes, Unsupported is thrown
// kQkeras2020  the same before 2021-05-26: in reference mode activation layers carry the type of values
//              (keras_quantizer) instead of the accumulator's. The AutoQKeras tutorial's 204 nJ.
enum class Compat { kNone, kQkeras, kQkeras2020 };

}  // namespace nibble::cost
