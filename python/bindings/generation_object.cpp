#include "bindings/generation_object.hpp"

#include <nanobind/nanobind.h>

#include "bindings/interpreter_lock.hpp"
#include "bindings/open_objects.hpp"
#include "bindings/python_call.hpp"

namespace kvcache::python {
namespace {

OpenObjects<GenerationObject> open_generations;

}  // namespace

template <typename Function>
decltype(auto) GenerationObject::asked(Function&& function) {
  const Changing asking(asked_, "generation");
  const Unlocked released;
  struct LetGo {
    GenerationObject& object;
    ~LetGo() {
      if (object.generation_.ended()) {
        object.let_go();
      }
    }
  };
  const LetGo let_go{*this};
  return std::forward<Function>(function)();
}

GenerationObject::GenerationObject(std::vector<LongChange> changes, TextOptions text,
                                   bool speculates, Generate generate)
    : changes_(std::move(changes)),
      text_(std::move(text)),
      speculates_(speculates),
      generate_(std::move(generate)),
      generation_(
          [this](const NewTokenCallback& on_token) {
            return generate_(text_.get(), stats_, on_token);
          },
          check_signals) {
  open_generations.add(this);
}

GenerationObject::~GenerationObject() {
  open_generations.remove(this);
  end();
}

Generation::Token GenerationObject::next() {
  std::optional<Generation::Token> token = asked([&] { return generation_.next(); });
  if (!token) {
    throw nb::stop_iteration();
  }
  return std::move(*token);
}

const Generated& GenerationObject::result() {
  return asked([&]() -> const Generated& { return generation_.result(); });
}

void GenerationObject::close() {
  const Changing asking(asked_, "generation");
  end();
}

std::optional<SpeculationStats> GenerationObject::speculation_stats() {
  return speculates_ && generation_.ended() ? std::optional(stats_) : std::nullopt;
}

void GenerationObject::end_all() {
  open_generations.end_each([](GenerationObject& object) { object.end(); });
}

void GenerationObject::let_go() noexcept {
  if (!let_go_.exchange(true)) {
    changes_.clear();
    // What is Python's may lead back to this object.
    text_.constraint.reset();
    generate_ = nullptr;
  }
}

void GenerationObject::end() noexcept {
  const Unlocked released;
  generation_.stop();
  let_go();
}

}  // namespace kvcache::python
