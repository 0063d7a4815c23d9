#include "evaluator/versions.hpp"

#include <algorithm>
#include <utility>

#include "base/throw_error.hpp"
#include "inference/sequence_state.hpp"

namespace kvcache::evaluator {
namespace {

std::shared_ptr<inference::Engine> engine_of(const Model& model) {
  const Sequence sequence = model.new_sequence();
  return inference::StateOf::of(sequence)->engine;
}

void check_same_interface(const ModelInfo& info, const ModelInfo& newest) {
  if (info.vocab_size != newest.vocab_size) {
    throw_error(ErrorCode::invalid_argument,
                "the model cannot take the place of the evaluator's: its vocabulary has {} tokens, "
                "the evaluator's {}; make an evaluator of its own for it",
                info.vocab_size, newest.vocab_size);
  }
  const auto same = [](const OutputInfo& a, const OutputInfo& b) {
    return a.name == b.name && a.size == b.size;
  };
  if (!std::ranges::equal(info.outputs, newest.outputs, same)) {
    throw_error(ErrorCode::invalid_argument,
                "the model cannot take the place of the evaluator's: it has other outputs beside "
                "the logits ({}, the evaluator's {}); make an evaluator of its own for it",
                info.outputs.size(), newest.outputs.size());
  }
}

}  // namespace

Versions::Versions(const Model& model) : newest_(model), known_{{engine_of(model), 1}} {}

std::uint64_t Versions::exchange(Model& model) {
  check_same_interface(model.info(), newest_.info());
  const std::uint64_t number = newest_number() + 1;
  std::erase_if(known_, [](const Known& known) { return known.engine.expired(); });
  known_.push_back({engine_of(model), number});
  std::swap(newest_, model);
  return number;
}

std::optional<std::uint64_t> Versions::find(
    const std::shared_ptr<inference::Engine>& engine) const noexcept {
  // Without a share in them: the last one would end an engine here.
  const auto same = [&](const Known& known) {
    return !known.engine.owner_before(engine) && !engine.owner_before(known.engine);
  };
  const auto found = std::ranges::find_if(known_.rbegin(), known_.rend(), same);
  return found == known_.rend() ? std::nullopt : std::optional(found->number);
}

}  // namespace kvcache::evaluator
