// nibble/cost/forgiving_factor.h
// How much accuracy a saving is worth [AutoQKeras; Coelho et al. 2021, sec. "forgiving factor"]:
//
//   delta = D * ln(reference / trial) / ln(rate),   score = metric * (1 + delta)
//
// D is delta_n where the trial costs at least as much as the reference, delta_p where it costs less. A model
// `rate` times cheaper may lose delta_p percent. Percents are held as 32-bit floats, as the reference does.
#pragma once

namespace nibble::cost {

struct ForgivingFactor {
  double delta_p = 8.0;  // percent, for trials cheaper than the reference
  double delta_n = 8.0;  // percent, for dearer ones
  double rate = 2.0;     // finite, > 1: below, the formula would reward what is dearer
  double stress = 1.0;   // scales the reference; > 0

  // Positive where the trial is cheaper than stress * reference; not clipped.
  //   reference, trial  costs in one unit, > 0
  //   throws  InvalidArgument naming the value that is out of range
  double delta(double reference, double trial) const;
};

}  // namespace nibble::cost
