// Evaluators for tests that need no model.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "game/score.hpp"
#include "search/position_evaluator.hpp"
#include "search/random.hpp"

namespace trigo::test {

/// Remembers the text, as a model's cache does, so that it is seen how a search asks.
class KeptText final : public KeptPosition {
 public:
  explicit KeptText(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

/// Priors and values that look random and depend on nothing but the game's text.
class HashEvaluator final : public PositionEvaluator {
 public:
  Evaluation evaluate(const KeptPosition* before, std::string_view text, const Position& position,
                      std::span<const Move> moves, Stopwatch& /*stopwatch*/) override {
    const auto* parent = dynamic_cast<const KeptText*>(before);
    std::string all = (parent != nullptr ? parent->text() : "") + std::string(text);
    ++asked_;
    last_text_ = all;
    last_moves_ = position.moves();
    Random random(std::hash<std::string>()(all));
    Evaluation evaluation;
    float sum = 0;
    for (std::size_t i = 0; i < moves.size(); ++i) {
      evaluation.priors.push_back(0.02F + static_cast<float>(std::pow(random.uniform(), 4)));
      sum += evaluation.priors.back();
    }
    for (float& prior : evaluation.priors) {
      prior /= sum;
    }
    evaluation.value = 2 * random.uniform() - 1;
    evaluation.kept = std::make_unique<KeptText>(std::move(all));
    return evaluation;
  }

  [[nodiscard]] std::size_t asked() const noexcept { return asked_; }
  [[nodiscard]] const std::string& last_text() const noexcept { return last_text_; }
  [[nodiscard]] std::size_t last_moves() const noexcept { return last_moves_; }

 private:
  std::size_t asked_ = 0;
  std::string last_text_;
  std::size_t last_moves_ = 0;
};

/// The same prior for each move, and who has more stones and surrounded points now.
class AreaEvaluator final : public PositionEvaluator {
 public:
  Evaluation evaluate(const KeptPosition* /*before*/, std::string_view /*text*/,
                      const Position& position, std::span<const Move> moves,
                      Stopwatch& /*stopwatch*/) override {
    Evaluation evaluation;
    evaluation.priors.assign(moves.size(), 1.0F / static_cast<float>(moves.size()));
    const auto points = static_cast<double>(position.board().geometry().points());
    evaluation.value = std::tanh(area(position.board()).difference() / points);
    return evaluation;
  }
};

}  // namespace trigo::test
