#include "decoding/draft_length.hpp"

namespace kvcache::decoding {
namespace {

constexpr double kNewest = 0.1;        // the weight of a guess among those before it
constexpr double kSlower = 0.1;        // of a run that took longer than those before: an accident
constexpr double kFaster = 0.5;        // of one that did not: what it takes
constexpr std::size_t kWarmUp = 2;     // runs of a new shape are slow, then one is captured
constexpr std::size_t kTryAgain = 32;  // runs without guesses, and then one with the fewest

void move_towards(double& average, double found, double weight) {
  average += weight * (found - average);
}

}  // namespace

DraftLength::DraftLength(std::size_t most) : lengths_(index_of(most) + 1) {}

std::size_t DraftLength::next() {
  std::size_t best = 0;
  double most_a_millisecond = 0;
  for (std::size_t i = 0; i < lengths_; ++i) {
    if (i > 1 && times_[i - 1].milliseconds == 0) {
      break;  // one step beyond what is known: a long run that is not worth it is a long one
    }
    const double rate = expected_tokens(length(i)) / expected_milliseconds(i);
    if (rate > most_a_millisecond) {
      most_a_millisecond = rate;
      best = i;
    }
  }
  if (best > 0 || lengths_ == 1) {
    runs_without_ = 0;
    return length(best);
  }
  if (++runs_without_ < kTryAgain) {
    return 0;
  }
  runs_without_ = 0;
  return length(1);
}

std::size_t DraftLength::index_of(std::size_t guesses) {
  std::size_t index = 0;
  while (index + 1 < kLengths && length(index + 1) <= guesses) {
    ++index;
  }
  return index;
}

void DraftLength::note(std::size_t drafted, std::size_t accepted, bool missed,
                       double milliseconds) {
  for (std::size_t i = 0; i < accepted; ++i) {
    move_towards(right_, 1, kNewest);
  }
  if (missed) {
    move_towards(right_, 0, kNewest);
  }
  Time& time = times_[index_of(drafted)];
  if (++time.runs <= kWarmUp) {
    return;
  }
  if (time.milliseconds == 0) {
    time.milliseconds = milliseconds;
  } else {
    move_towards(time.milliseconds, milliseconds,
                 milliseconds < time.milliseconds ? kFaster : kSlower);
  }
}

/// Of a chain of which each guess is right by the same chance: 1 + p + p² + …
double DraftLength::expected_tokens(std::size_t drafts) const {
  double sum = 0;
  double chance = 1;
  for (std::size_t i = 0; i <= drafts; ++i) {
    sum += chance;
    chance *= right_;
  }
  return sum;
}

/// What is not known yet is taken for as much as the nearest shorter run, so that it is tried.
double DraftLength::expected_milliseconds(std::size_t index) const {
  for (std::size_t i = index + 1; i-- > 0;) {
    if (times_[i].milliseconds > 0) {
      return times_[i].milliseconds;
    }
  }
  return 1;
}

}  // namespace kvcache::decoding
