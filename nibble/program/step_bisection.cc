#include "nibble/program/step_bisection.h"

#include <algorithm>

namespace nibble::program {
namespace {

// A part of a channel's integers whose ends differ.
struct Segment {
  int64_t channel, low, high;
  float value_low, value_high;
};

class Bisection {
 public:
  Bisection(const std::vector<std::vector<int64_t>>& breaks, const Evaluate& evaluate, int64_t most_steps,
            const std::function<void()>& too_many)
      : breaks_(breaks), evaluate_(evaluate), most_steps_(most_steps), too_many_(too_many), functions_(breaks.size()) {}

  std::vector<StepFunction> run() {
    begin();
    while (!segments_.empty()) halve();
    for (StepFunction& function : functions_) {
      std::sort(function.steps.begin(), function.steps.end(),
                [](const FunctionStep& a, const FunctionStep& b) { return a.x < b.x; });
    }
    return std::move(functions_);
  }

 private:
  void begin() {
    std::vector<Point> ends;
    for (size_t c = 0; c < breaks_.size(); ++c) {
      for (const int64_t x : breaks_[c]) ends.push_back({static_cast<int64_t>(c), x});
    }
    const std::vector<float> values = ask(ends);
    size_t end = 0;
    for (size_t c = 0; c < breaks_.size(); ++c, ++end) {
      functions_[c].first_value = values[end];
      for (size_t i = 1; i < breaks_[c].size(); ++i, ++end) {
        add({static_cast<int64_t>(c), ends[end].x, ends[end + 1].x, values[end], values[end + 1]}, segments_);
      }
    }
  }

  std::vector<float> ask(const std::vector<Point>& points) const {
    return points.empty() ? std::vector<float>() : evaluate_(points);
  }

  // A segment that has a step is halved again, or is the step.
  void add(const Segment& s, std::vector<Segment>& segments) {
    if (s.value_low == s.value_high) return;
    if (s.high - s.low > 1) {
      segments.push_back(s);
      return;
    }
    functions_[static_cast<size_t>(s.channel)].steps.push_back({s.high, s.value_high});
    if (++count_ > most_steps_) too_many_();
  }

  void halve() {
    std::vector<Point> middles;
    middles.reserve(segments_.size());
    for (const Segment& s : segments_) middles.push_back({s.channel, s.low + (s.high - s.low) / 2});
    const std::vector<float> values = ask(middles);
    std::vector<Segment> next;
    for (size_t i = 0; i < segments_.size(); ++i) {
      const Segment& s = segments_[i];
      add({s.channel, s.low, middles[i].x, s.value_low, values[i]}, next);
      add({s.channel, middles[i].x, s.high, values[i], s.value_high}, next);
    }
    segments_ = std::move(next);
  }

  const std::vector<std::vector<int64_t>>& breaks_;
  const Evaluate& evaluate_;
  int64_t most_steps_;
  const std::function<void()>& too_many_;
  std::vector<StepFunction> functions_;  // by channel
  std::vector<Segment> segments_;
  int64_t count_ = 0;
};

}  // namespace

std::vector<StepFunction> find_steps(const std::vector<std::vector<int64_t>>& breaks, const Evaluate& evaluate,
                                     int64_t most_steps, const std::function<void()>& too_many) {
  return Bisection(breaks, evaluate, most_steps, too_many).run();
}

}  // namespace nibble::program
