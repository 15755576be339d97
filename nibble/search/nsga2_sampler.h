// NSGA-II: breeds proposals from the trials that are best in several respects at once
// [Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm"].
//
// Parents are the `population` best finished trials by rank and crowding distance; a trial need not
// wait for the others of its generation, so workers never stand still (a steady-state population).
#pragma once

#include <vector>

#include "nibble/search/pareto.h"
#include "nibble/search/sampler.h"

namespace nibble::search {

struct Nsga2Options {
  std::vector<Objective> objectives = {{"accuracy", true}, {"cost", false}};  // at least one
  int population = 20;     // uniform trials at first, and parents later; >= 2
  double crossover = 0.9;  // probability that a child has two parents
  double mutation = 0.0;   // probability that a choice is drawn anew; 0: one choice a child on average
};

class Nsga2Sampler final : public Sampler {
 public:
  // Trial k draws from the Philox stream (seed, kSampler, layer 3, step k).
  //   throws  InvalidArgument for options out of range
  explicit Nsga2Sampler(uint64_t seed, Nsga2Options options = {});

  std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const override;

 private:
  uint64_t seed_;
  Nsga2Options options_;
};

}  // namespace nibble::search
