#include "selfplay/cast.hpp"

#include <algorithm>
#include <chrono>

namespace trigo {
namespace {

// Of a run through an Evaluator, for each game: a question has about as many tokens as a board has
// coordinates, and those of a move.
constexpr std::size_t kTokensOfQuestion = 64;

// For the slowest game of a run: the others wait for it, as they would for the next run.
constexpr std::chrono::milliseconds kLongestWait{1};

kvcache::EvaluatorOptions evaluator_options(std::size_t games) {
  kvcache::EvaluatorOptions options;
  options.max_rows = std::max(options.max_rows, games);
  options.max_delay = kLongestWait;
  options.max_tokens = std::max(options.max_tokens, games * kTokensOfQuestion);
  return options;
}

}  // namespace

Cast::Cast(const ProgramOptions& options, const std::vector<PlayerName>& names,
           const UsualChanges& usual)
    : changes_{
          options.exploration,
          options.noise.value_or(usual.noise),
          {options.temperature.value_or(1), options.temperature_moves.value_or(usual.drawn_moves)},
          options.priors_when_needed()} {
  std::size_t simulations = 0;
  for (const PlayerName& name : names) {
    simulations += name.kind == PlayerName::Kind::model ? name.simulations : 0;
  }
  for (const PlayerName& name : names) {
    Role role{name, nullptr};
    const bool own = !roles_.empty() && !options.against_model.empty();
    const std::string& directory = own ? options.against_model : options.model;
    if (name.kind == PlayerName::Kind::model && !directory.empty()) {
      if (!own && !roles_.empty() && roles_.front().model != nullptr) {
        role.model = roles_.front().model;
      } else {
        role.model = std::make_shared<SharedModel>(SharedModel{
            load_model(options.model_use(directory), options.games_at_once(), simulations), {}});
        if (options.in_flight != 0) {
          role.model->evaluator = std::make_unique<kvcache::Evaluator>(
              role.model->inferencer.model(), evaluator_options(options.in_flight));
        }
      }
    }
    roles_.push_back(std::move(role));
  }
}

std::unique_ptr<Player> Cast::make(std::size_t i) const {
  const Role& role = roles_[i];
  return make_player(role.name, changes_, role.model != nullptr ? &role.model->inferencer : nullptr,
                     role.model != nullptr ? role.model->evaluator.get() : nullptr);
}

std::optional<kvcache::EvaluatorMetrics> Cast::metrics(std::size_t i) const {
  const auto& model = roles_[i].model;
  return model != nullptr && model->evaluator != nullptr
             ? std::optional(model->evaluator->metrics())
             : std::nullopt;
}

}  // namespace trigo
