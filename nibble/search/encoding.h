// Assignments as points: the index of the chosen candidate of each parameter, for samplers that count
// and compare.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/search/sampler.h"

namespace nibble::search {

using Point = std::vector<int>;  // one index a parameter, in the space's order

// Nothing if a value is missing or no candidate (a trial of an older space).
std::optional<Point> encode(const SearchSpace& space, const Assignment& values);
Assignment decode(const SearchSpace& space, const Point& point);

// throws InvalidArgument naming the parameter that has no candidates, and the sampler
void check_candidates(const SearchSpace& space, const char* sampler);

Point draw_point(const SearchSpace& space, RandomStream& stream);

// What earlier trials hold, whatever became of them.
std::set<Point> points_of(const SearchSpace& space, std::span<const Trial> earlier);

// A uniform draw that is not in `seen`; nothing when none is left. In a space of up to kMostEnumerated
// points the last one is found surely, in a larger one after 1,000 draws of known ones the space counts as exhausted.
inline constexpr int64_t kMostEnumerated = 100'000;
std::optional<Point> draw_unseen(const SearchSpace& space, const std::set<Point>& seen, RandomStream& stream);

// A completed trial as adaptive samplers see it.
struct Observation {
  Point point;
  double score = 0;  // maximised
  const Trial* trial = nullptr;
};

// Completed trials with a finite score, by number; failed ones get the worst score seen so far: they teach too.
std::vector<Observation> observations_of(const SearchSpace& space, std::span<const Trial> earlier);

}  // namespace nibble::search
