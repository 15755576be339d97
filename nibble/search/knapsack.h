// Which option each layer takes so that the summed cost keeps a bound and the summed loss is least: the
// multiple-choice knapsack, solved exactly.
//
//   minimise  sum of loss[layer][option]   subject to  sum of cost[layer][option] <= budget
//
// Losses are sensitivities: how much the loss of the trained float network rises when this layer alone takes the
// option. Layer after layer, only the partial sums that no other beats in both cost and loss are kept [Nemhauser &
// Ullmann 1969], so the answer is exact for real-valued costs too.
#pragma once

#include <optional>
#include <vector>

namespace nibble::search {

struct KnapsackOption {
  double cost = 0;  // >= 0, finite
  double loss = 0;  // finite; may be negative
};

struct KnapsackChoice {
  std::vector<int> options;  // one index a layer
  double cost = 0;
  double loss = 0;
};

// Every choice that no other beats in both sums, the cheapest first: the whole trade-off.
//   layers  at least one option each
//   budget  dearer choices are left out
//   throws  InvalidArgument for a layer without options, a cost or loss out of range, or more than kMostPartial
//           partial sums (costs in coarser steps make fewer)
inline constexpr size_t kMostPartial = 2'000'000;
std::vector<KnapsackChoice> knapsack_front(const std::vector<std::vector<KnapsackOption>>& layers, double budget);

// The choice of least loss within the budget, the cheaper among equals; nothing if the cheapest exceeds it.
std::optional<KnapsackChoice> solve_knapsack(const std::vector<std::vector<KnapsackOption>>& layers, double budget);

}  // namespace nibble::search
