// The job of shared_prefix.hpp on kvcache: a tree, then forks extended together.
#include <kvcache/kvcache.hpp>
#include <optional>

#include "shared_prefix.hpp"

namespace {

using peers::Token;

class Runner {
 public:
  Runner(const char* model, int threads) : model_(kvcache::Model::load(model, options(threads))) {}

  [[nodiscard]] Token vocab_size() const { return static_cast<Token>(model_.info().vocab_size); }

  void prefill(std::span<const Token> prefix) {
    forks_.clear();
    prefix_.reset();
    prefix_.extend(prefix);
  }

  template <typename Visit>
  void evaluate(const std::vector<Token>& tokens, const Visit& visit) {
    const std::vector<std::int32_t> parents(tokens.size(), -1);
    const kvcache::TreeEvaluation evaluation = prefix_.evaluate({tokens, parents});
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      visit(i, evaluation.logits().row(i));
    }
  }

  void fork(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      forks_.push_back(prefix_.fork());
    }
  }

  template <typename Visit>
  void step(const std::vector<Token>& tokens, const Visit& visit) {
    std::vector<kvcache::Extension> batch;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      batch.push_back({&forks_[i], {&tokens[i], 1}});
    }
    const std::vector<kvcache::Logits> logits = kvcache::extend(batch);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      visit(i, logits[i].last());
    }
  }

 private:
  static kvcache::ModelOptions options(int threads) {
    kvcache::ModelOptions options;
    options.num_threads = threads;
    return options;
  }

  kvcache::Model model_;
  kvcache::Sequence prefix_ = model_.new_sequence();
  std::vector<kvcache::Sequence> forks_;
};

}  // namespace

int main(int argc, char** argv) { return peers::main_of<Runner>(argc, argv); }
