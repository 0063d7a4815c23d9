// What Python's Generation holds.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/generation.hpp"
#include "bindings/use.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/speculation.hpp"

namespace kvcache::python {

/// A change of an object that goes on beyond a call.
class LongChange {
 public:
  /// @throws Error invalid_argument when it is in use
  LongChange(std::shared_ptr<Use> use, std::string_view what) : use_(std::move(use)) {
    use_->begin_change(what);
  }
  LongChange(LongChange&& other) noexcept : use_(std::exchange(other.use_, nullptr)) {}
  LongChange& operator=(LongChange&&) = delete;
  LongChange(const LongChange&) = delete;
  LongChange& operator=(const LongChange&) = delete;
  ~LongChange() {
    if (use_ != nullptr) {
      use_->end_change();
    }
  }

 private:
  std::shared_ptr<Use> use_;
};

/// Options of a text, with what they point to.
struct TextOptions {
  GenerateOptions options;
  std::optional<Tokenizer> tokenizer;
  std::unique_ptr<Constraint> constraint;

  /// The options, pointing to the others; valid as long as this object.
  [[nodiscard]] const GenerateOptions& get() noexcept {
    options.tokenizer = tokenizer ? &*tokenizer : nullptr;
    options.constraint = constraint.get();
    return options;
  }
};

/// A generation whose sequence, and what else it changes, is in use until it has ended.
class GenerationObject {
 public:
  using Generate = std::function<Generated(const GenerateOptions& options, SpeculationStats& stats,
                                           const NewTokenCallback& on_token)>;

  /// @param generate holds what it works on
  GenerationObject(std::vector<LongChange> changes, TextOptions text, bool speculates,
                   Generate generate);
  ~GenerationObject();
  GenerationObject(const GenerationObject&) = delete;
  GenerationObject& operator=(const GenerationObject&) = delete;

  /// @throws nb::stop_iteration behind the last token; what generate() does
  Generation::Token next();
  const Generated& result();
  void close();

  /// Nothing before it has ended, and where nothing is guessed.
  [[nodiscard]] std::optional<SpeculationStats> speculation_stats();

  /// Ends all, before the interpreter does: they may call back into it.
  static void end_all();

 private:
  /// One thread asks at a time, and lets go of what is held where it was the last time.
  template <typename Function>
  decltype(auto) asked(Function&& function);
  void let_go() noexcept;
  void end() noexcept;

  std::vector<LongChange> changes_;
  TextOptions text_;
  bool speculates_;
  SpeculationStats stats_;
  Generate generate_;
  Use asked_;
  std::atomic<bool> let_go_ = false;
  Generation generation_;  // the last member: its thread uses the others
};

}  // namespace kvcache::python
