// The job of decode.hpp on kvcache, all options as by default.
#include <kvcache/kvcache.hpp>
#include <optional>

#include "decode.hpp"

namespace {

using peers::Token;

class Runner {
 public:
  /// Its cache grows by itself, so that nobody tells it of positions.
  Runner(const char* model, int threads, std::size_t /*positions*/)
      : model_(kvcache::Model::load(model, options(threads))) {}

  [[nodiscard]] Token vocab_size() const { return static_cast<Token>(model_.info().vocab_size); }
  void reset() { sequence_.reset(); }

  Token extend(std::span<const Token> tokens) {
    logits_ = sequence_.extend(tokens);
    return logits_->argmax();
  }

  [[nodiscard]] std::span<const float> logits() const { return logits_->last(); }

  std::vector<Token> start_rows(const std::vector<std::vector<Token>>& prompts) {
    std::vector<Token> best;
    for (const std::vector<Token>& prompt : prompts) {
      rows_.push_back(model_.new_sequence());
      best.push_back(rows_.back().extend(prompt).argmax());
    }
    return best;
  }

  void step_rows(std::vector<Token>& next) {
    std::vector<kvcache::Extension> batch;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      batch.push_back({&rows_[row], {&next[row], 1}});
    }
    row_logits_ = kvcache::extend(batch);
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      next[row] = row_logits_[row].argmax();
    }
  }

 private:
  static kvcache::ModelOptions options(int threads) {
    kvcache::ModelOptions options;
    options.num_threads = threads;
    return options;
  }

  kvcache::Model model_;
  kvcache::Sequence sequence_ = model_.new_sequence();
  std::optional<kvcache::Logits> logits_;
  std::vector<kvcache::Sequence> rows_;
  std::vector<kvcache::Logits> row_logits_;
};

}  // namespace

int main(int argc, char** argv) { return peers::decode_main<Runner>(argc, argv); }
