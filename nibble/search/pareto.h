// Sets of trials of which none is better than another in every respect.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "nibble/search/study.h"

namespace nibble::search {

// One thing to be had much or little of, by the name of a metric ("score" is the trial's score).
struct Objective {
  std::string metric;
  bool maximise = true;
  bool operator==(const Objective&) const = default;
};

// Values of the objectives turned so that less is better; every point has the same number.
using Losses = std::vector<double>;

// True if a is nowhere worse than b and somewhere better.
bool dominates(const Losses& a, const Losses& b);

// Rank 0 for points that none dominates, 1 for those that only rank 0 dominates, ... [Deb et al. 2002, NSGA-II]
std::vector<int> nondominated_ranks(std::span<const Losses> points);

// How far a point's neighbours of the same rank are, summed over the objectives, each divided by its range; infinite at
// the ends [Deb et al. 2002].
std::vector<double> crowding_distances(std::span<const Losses> points, std::span<const int> ranks);

// Area or volume that the points dominate below `reference`, exactly; points outside of it count nothing.
//   reference  1 to 3 finite values
//   throws  InvalidArgument for other numbers of objectives or values, or points of another number
double hypervolume(std::span<const Losses> points, const Losses& reference);

// A completed trial's losses; empty if one of the metrics is missing or not finite.
Losses losses_of(const Trial& trial, std::span<const Objective> objectives);

// The worst of each objective among the completed trials. -infinity without trials.
Losses worst_losses(std::span<const Trial> trials, std::span<const Objective> objectives);

// Where a hypervolume ends if nobody says otherwise: the worst, and beyond it a tenth of the range among the completed
// trials, so that the ends of a front count too. Where all are equal, a tenth of the value; of 0, a tenth. -infinity
// without trials.
Losses default_reference(std::span<const Trial> trials, std::span<const Objective> objectives);

// Numbers of the completed trials that none dominates, in the order of the first objective, best first. Of equal trials
// the one with the lowest number stands for all.
std::vector<int> pareto_front(std::span<const Trial> trials, std::span<const Objective> objectives);

// How the hypervolume grew: one row for each completed trial that made it larger, in the order in which they finished.
struct HypervolumeStep {
  int trials = 0;  // completed by then, this one included
  int number = 0;  // of this trial
  int64_t finished_ms = 0;
  double hypervolume = 0;
};
//   throws  as hypervolume()
std::vector<HypervolumeStep> hypervolume_history(std::span<const Trial> trials, std::span<const Objective> objectives,
                                                 const Losses& reference);

}  // namespace nibble::search
