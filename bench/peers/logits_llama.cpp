// logits_llama MODEL.gguf IDS OUTPUT: llama.cpp's logits after each token of a text.
//
// IDS holds token ids, separated by spaces; OUTPUT gets float32 [tokens, vocabulary]. The text is
// one sequence and one batch, the cache in float32: what is compared is the weights.
#include <llama.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s MODEL.gguf IDS OUTPUT\n", argv[0]);
    return 2;
  }
  std::ifstream file(argv[2]);
  std::vector<llama_token> ids{std::istream_iterator<llama_token>(file), {}};
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model* const model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr || ids.empty()) {
    std::fprintf(stderr, "error: no model in %s, or no ids in %s\n", argv[1], argv[2]);
    return 1;
  }
  const auto vocab_size =
      static_cast<std::size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<std::uint32_t>(ids.size());
  params.n_batch = params.n_ctx;
  params.n_threads = params.n_threads_batch = 2;
  params.type_k = params.type_v = GGML_TYPE_F32;
  llama_context* const context = llama_init_from_model(model, params);
  llama_batch batch = llama_batch_init(static_cast<int>(ids.size()), 0, 1);
  batch.n_tokens = static_cast<int>(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    batch.token[i] = ids[i];
    batch.pos[i] = static_cast<llama_pos>(i);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  if (context == nullptr || llama_decode(context, batch) != 0) {
    std::fprintf(stderr, "error: llama.cpp cannot run %zu tokens\n", ids.size());
    return 1;
  }
  std::ofstream out(argv[3], std::ios::binary);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const float* const row = llama_get_logits_ith(context, static_cast<int>(i));
    out.write(reinterpret_cast<const char*>(row),
              static_cast<std::streamsize>(vocab_size * sizeof(float)));
  }
  llama_batch_free(batch);
  llama_free(context);
  llama_model_free(model);
  return out.flush() ? 0 : 1;
}
