#include "nibble/cost/forgiving_factor.h"

#include <cmath>

#include "nibble/core/error.h"

namespace nibble::cost {

double ForgivingFactor::delta(double reference, double trial) const {
  // Below 1, ln(rate) is negative and a dearer network would be the one that may lose accuracy.
  if (!(rate > 1) || std::isinf(rate)) {
    throw InvalidArgument(
        "[forgiving_factor] rate is {}; it must be finite and above 1, e.g. 2: a network so many times cheaper may "
        "lose delta_p percent.",
        rate);
  }
  if (!(stress > 0)) throw InvalidArgument("[forgiving_factor] stress is {}; it must be above 0.", stress);
  if (!(reference > 0))
    throw InvalidArgument(
        "[forgiving_factor] the reference cost is {}; it must be above 0. Does the goal count any layer?", reference);
  if (!(trial > 0))
    throw InvalidArgument(
        "[forgiving_factor] the trial's cost is {}; it must be above 0. Does the goal count any layer?", trial);
  const double target = reference * stress;
  const float percent = static_cast<float>(trial < target ? delta_p : delta_n);
  return percent / 100.0 * (std::log(target / trial) / std::log(rate));
}

}  // namespace nibble::cost
