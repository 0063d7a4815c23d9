#include "decoding/draft_length.hpp"

#include <algorithm>

namespace kvcache::decoding {
namespace {

constexpr double kNewest = 0.1;        // the weight of a guess among those before it, at least
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
    note_guess(true);
  }
  if (missed) {
    note_guess(false);
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

/// The first ones count alike, beside one that was half right; so few wrong ones end the guessing.
void DraftLength::note_guess(bool right) {
  ++guesses_;
  const double weight = 1 / static_cast<double>(guesses_ + 1);
  move_towards(right_, right ? 1 : 0, std::max(weight, kNewest));
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

/// What is not known yet is taken to go on from the two nearest shorter ones as they do, so that
/// what cannot pay is not tried; and for as much as a shorter one where there is only one.
double DraftLength::expected_milliseconds(std::size_t index) const {
  const auto known_before = [&](std::size_t end) {
    while (end > 0 && times_[end - 1].milliseconds == 0) {
      --end;
    }
    return end;  // one more than its index, or 0
  };
  const std::size_t near = known_before(index + 1);
  if (near == 0) {
    return 1;
  }
  const double known = times_[near - 1].milliseconds;
  const std::size_t far = known_before(near - 1);
  if (far == 0) {
    return known;
  }
  const auto guesses = [](std::size_t shorter, std::size_t longer) {
    return static_cast<double>(length(longer) - length(shorter));
  };
  const double a_guess = (known - times_[far - 1].milliseconds) / guesses(far - 1, near - 1);
  return known + std::max(a_guess, 0.0) * guesses(near - 1, index);
}

}  // namespace kvcache::decoding
