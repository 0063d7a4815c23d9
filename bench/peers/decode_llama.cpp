// The job of decode.hpp on llama.cpp: mapped weights, weights repacked for this processor, a cache
// in float16, flash attention where it chooses so: its defaults, which are its fastest.
#include <llama.h>

#include <optional>
#include <stdexcept>

#include "decode.hpp"

namespace {

using peers::Token;

/// A context and the batch it is fed with.
class Context {
 public:
  Context(llama_model* model, int threads, std::size_t positions, std::size_t sequences) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<std::uint32_t>(positions);
    params.n_batch = peers::kPrefill;
    params.n_ubatch = peers::kPrefill;
    params.n_seq_max = static_cast<std::uint32_t>(sequences);
    params.n_threads = threads;
    params.n_threads_batch = threads;
    context_ = llama_init_from_model(model, params);
    if (context_ == nullptr) {
      throw std::runtime_error("llama.cpp cannot make a context");
    }
    batch_ = llama_batch_init(peers::kPrefill, 0, 1);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    llama_batch_free(batch_);
    llama_free(context_);
  }

  void clear() { llama_memory_clear(llama_get_memory(context_), true); }

  void add(Token token, llama_pos position, llama_seq_id sequence, bool logits) {
    const auto i = batch_.n_tokens++;
    batch_.token[i] = static_cast<llama_token>(token);
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = sequence;
    batch_.logits[i] = static_cast<std::int8_t>(logits);
  }

  void run() {
    if (llama_decode(context_, batch_) != 0) {
      throw std::runtime_error("llama_decode failed");
    }
    last_ = batch_.n_tokens - 1;
    batch_.n_tokens = 0;
  }

  /// Of a token of the batch that ran last.
  [[nodiscard]] std::span<const float> logits(int token, Token vocab_size) const {
    return {llama_get_logits_ith(context_, token), static_cast<std::size_t>(vocab_size)};
  }
  [[nodiscard]] int last() const { return last_; }

 private:
  llama_context* context_;
  llama_batch batch_;
  int last_ = 0;
};

class Runner {
 public:
  Runner(const char* path, int threads, std::size_t positions) : threads_(threads) {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    llama_backend_init();
    model_ = llama_model_load_from_file(path, llama_model_default_params());
    if (model_ == nullptr) {
      throw std::runtime_error("llama.cpp cannot load the model");
    }
    context_.emplace(model_, threads, positions, 1);  // all of its cache is written at once
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner() {
    context_.reset();
    rows_.reset();
    llama_model_free(model_);
  }

  [[nodiscard]] Token vocab_size() const {
    return llama_vocab_n_tokens(llama_model_get_vocab(model_));
  }

  void reset() {
    context_->clear();
    length_ = 0;
  }

  Token extend(std::span<const Token> tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const bool is_last = i + 1 == tokens.size();
      context_->add(tokens[i], length_++, 0, is_last);
      if (is_last || (i + 1) % peers::kPrefill == 0) {
        context_->run();
      }
    }
    return peers::best_of(logits());
  }

  [[nodiscard]] std::span<const float> logits() const {
    return context_->logits(context_->last(), vocab_size());
  }

  std::vector<Token> start_rows(const std::vector<std::vector<Token>>& prompts) {
    const std::size_t positions = 2 * peers::kRowDepth;  // of each
    rows_.emplace(model_, threads_, prompts.size() * positions, prompts.size());
    std::vector<Token> best;
    for (std::size_t row = 0; row < prompts.size(); ++row) {
      const auto length = static_cast<llama_pos>(prompts[row].size());
      for (llama_pos i = 0; i < length; ++i) {
        rows_->add(prompts[row][static_cast<std::size_t>(i)], i, static_cast<llama_seq_id>(row),
                   i + 1 == length);
      }
      row_length_ = length;
      rows_->run();
      best.push_back(peers::best_of(rows_->logits(rows_->last(), vocab_size())));
    }
    return best;
  }

  void step_rows(std::vector<Token>& next) {
    for (std::size_t row = 0; row < next.size(); ++row) {
      rows_->add(next[row], row_length_, static_cast<llama_seq_id>(row), true);
    }
    ++row_length_;
    rows_->run();
    for (std::size_t row = 0; row < next.size(); ++row) {
      next[row] = peers::best_of(rows_->logits(static_cast<int>(row), vocab_size()));
    }
  }

 private:
  int threads_;
  llama_model* model_;
  std::optional<Context> context_;
  std::optional<Context> rows_;
  llama_pos length_ = 0;
  llama_pos row_length_ = 0;
};

}  // namespace

int main(int argc, char** argv) { return peers::decode_main<Runner>(argc, argv); }
