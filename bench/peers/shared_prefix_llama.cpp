// The job of shared_prefix.hpp on llama.cpp: sequences that share the prefix's cells, one batch of
// all. Cache in float32 as ours; a unified cache, as its documentation advises for a large shared
// prefix; everything else as by default.
#include <llama.h>

#include <stdexcept>

#include "shared_prefix.hpp"

namespace {

using peers::Token;

class Runner {
 public:
  Runner(const char* path, int threads) {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    llama_backend_init();
    model_ = llama_model_load_from_file(path, llama_model_default_params());
    if (model_ == nullptr) {
      throw std::runtime_error("llama.cpp cannot load the model");
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = peers::kPrefix + peers::kContinuations * (peers::kSteps + 2);
    params.n_batch = 512;
    params.n_ubatch = 512;
    params.n_seq_max = peers::kContinuations + 1;
    params.n_threads = threads;
    params.n_threads_batch = threads;
    params.type_k = GGML_TYPE_F32;
    params.type_v = GGML_TYPE_F32;
    params.kv_unified = true;
    context_ = llama_init_from_model(model_, params);
    if (context_ == nullptr) {
      throw std::runtime_error("llama.cpp cannot make a context");
    }
    batch_ = llama_batch_init(512, 0, 1);
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner() {
    llama_batch_free(batch_);
    llama_free(context_);
    llama_model_free(model_);
  }

  [[nodiscard]] Token vocab_size() const {
    return llama_vocab_n_tokens(llama_model_get_vocab(model_));
  }

  void prefill(const std::vector<Token>& prefix) {
    llama_memory_clear(memory(), false);
    length_ = 0;
    batch_.n_tokens = 0;
    for (const Token token : prefix) {
      add(token, length_++, 0, false);
    }
    decode();
  }

  template <typename Visit>
  void evaluate(const std::vector<Token>& tokens, const Visit& visit) {
    fork(tokens.size());
    step(tokens, visit);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      llama_memory_seq_rm(memory(), static_cast<llama_seq_id>(i + 1), -1, -1);
    }
  }

  void fork(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      llama_memory_seq_cp(memory(), 0, static_cast<llama_seq_id>(i + 1), -1, -1);
    }
    depth_ = length_;
  }

  template <typename Visit>
  void step(const std::vector<Token>& tokens, const Visit& visit) {
    batch_.n_tokens = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      add(tokens[i], depth_, static_cast<llama_seq_id>(i + 1), true);
    }
    ++depth_;
    decode();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      visit(i, std::span(llama_get_logits_ith(context_, static_cast<int>(i)),
                         static_cast<std::size_t>(vocab_size())));
    }
  }

 private:
  [[nodiscard]] llama_memory_t memory() const { return llama_get_memory(context_); }

  void add(Token token, llama_pos position, llama_seq_id sequence, bool logits) {
    const auto i = batch_.n_tokens++;
    batch_.token[i] = static_cast<llama_token>(token);
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = sequence;
    batch_.logits[i] = logits;
  }

  void decode() {
    if (llama_decode(context_, batch_) != 0) {
      throw std::runtime_error("llama_decode failed");
    }
  }

  llama_model* model_;
  llama_context* context_;
  llama_batch batch_;
  llama_pos length_ = 0;  // of the prefix
  llama_pos depth_ = 0;   // of its copies
};

}  // namespace

int main(int argc, char** argv) { return peers::main_of<Runner>(argc, argv); }
