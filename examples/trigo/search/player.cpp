#include "search/player.hpp"

#include <utility>

#include "search/rollout.hpp"
#include "search/visits.hpp"

namespace trigo {
namespace {

// Numbers of what a game's seed is divided among.
constexpr std::uint64_t kNoise = 0;
constexpr std::uint64_t kChoice = 1;
constexpr std::uint64_t kEvaluator = 2;

}  // namespace

void RandomPlayer::start(const Shape& shape, std::uint64_t seed) {
  position_ = Position(shape);
  random_ = Random(seed_of(seed, kChoice));
}

Move RandomPlayer::choose() { return random_move(position_, random_, scratch_); }

SearchPlayer::SearchPlayer(std::unique_ptr<PositionEvaluator> evaluator,
                           const SearchOptions& options, const MoveChoice& choice)
    : evaluator_(std::move(evaluator)),
      choice_(choice),
      search_(*evaluator_, options, stopwatch_) {}

void SearchPlayer::start(const Shape& shape, std::uint64_t seed) {
  root_ = nullptr;
  evaluator_->start(seed_of(seed, kEvaluator));
  search_.start(shape, seed_of(seed, kNoise));
  random_ = Random(seed_of(seed, kChoice));
}

Move SearchPlayer::choose() {
  root_ = &search_.search();
  const bool early = search_.position().moves() < choice_.moves;
  return choose_by_visits(*root_, early ? choice_.temperature : 0, random_);
}

void SearchPlayer::played(Move move) {
  root_ = nullptr;
  search_.play(move);
}

}  // namespace trigo
